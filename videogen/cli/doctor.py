"""`videogen doctor`: versions, devices, and each attention backend, tested by calling it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from videogen.backbones.registry import EMBEDDED
from videogen.core.disk_cache import CACHES, DiskCache
from videogen.core.manifest import collect_versions


def run(options: argparse.Namespace) -> int:
    import torch

    from videogen.attention.kernels.packages import broken_packages
    from videogen.attention.kernels.probe import chosen_kernels, probe_backends

    caches = [DiskCache(kind) for kind in CACHES]
    if options.clear_cache:
        for cache in caches:
            cache.clear()
    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    models = {name: (folder / "model_index.json").is_file() for name, folder in EMBEDDED.items()}
    backends, broken = probe_backends(), broken_packages()
    if options.json:
        print(json.dumps({
            "versions": collect_versions(), "devices": devices, "cpu_threads": torch.get_num_threads(),
            "embedded": models, "attention": [asdict(backend) for backend in backends],
            "broken_packages": broken, "chosen": chosen_kernels(),
            **{f"{cache.kind.name}_cache": _describe(cache) for cache in caches},
        }, indent=2))  # fmt: skip
        return 0
    print("versions")
    for name, version in collect_versions().items():
        print(f"  {name:<14}{version}")
    print(f"\ndevices\n  {', '.join(devices)}; {torch.get_num_threads()} threads on {os.cpu_count()} cores")
    print("\nembedded models")
    for name, present in models.items():
        print(f"  {'yes' if present else 'NO ':<5}{name}")
    print("\ncaches (--clear-cache deletes what they store)")
    for cache in caches:
        used = f"{cache.size_bytes() / 2**20:.1f} of at most {cache.limit_bytes / 2**20:.0f} MiB"
        print(f"  {cache.kind.description}: {cache.folder}: {used}")
    print("\nattention backends")
    for backend in backends:
        print(f"  {'yes' if backend.available else 'no':<5}{backend.name:<18}{backend.reason}")
    print("\nkernels that run attention here (a video's manifest counts its calls by kernel)")
    for kind, name in chosen_kernels().items():
        print(f"  {kind:<24}{name}")
    if broken:
        print("\nleft out: installed, but their import fails; install them again")
    for name, error in broken.items():
        print(f"  {name:<18}{error}")
    return 0


def _describe(cache: DiskCache) -> dict[str, object]:
    return {"folder": str(cache.folder), "bytes": cache.size_bytes(), "limit_bytes": cache.limit_bytes}
