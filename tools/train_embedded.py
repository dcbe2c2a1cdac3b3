"""Train one part of the embedded models: `python -m tools.train_embedded PART --minutes M --out DIR`.

Parts: `vae` then `dit` make `embedded`, and with `--large` `embedded-large`; `frame-vae` then `unet` make
`embedded-unet`. The same command resumes a run that was stopped; `--init` starts from a trained part (diffusers
layout).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import torch

PARTS = {
    "vae": "vae:VideoVae",
    "dit": "dit:VideoDit",
    "frame-vae": "frame_vae:FrameVae",
    "unet": "unet:VideoUnet",
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--minutes", type=float, default=30.0, help="time box, resumed time included")
    parser.add_argument("--steps", type=int, default=None, help="stop after this many steps, even if time is left")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and state")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument(
        "--batch", type=int, default=None, help="clips per batch (default: the part's, chosen for a CPU)"
    )
    parser.add_argument(
        "--large", action="store_true", help="parts `vae` and `dit`: 128x128 px, 65 frames, 4,352 tokens"
    )
    parser.add_argument("--init", type=Path, default=None, help="start from this trained part")
    parser.add_argument(
        "--decoder-only", action="store_true", help="`vae`, `frame-vae`: train the decoder only; the latents stay"
    )
    parser.add_argument(
        "--vae", type=Path, default=None, help="`dit`, `unet`: the trained VAE whose latents they denoise"
    )
    parser.add_argument("--warped", type=float, default=0.5, help="`dit`: fraction of the full clips with warped noise")
    parser.add_argument(
        "--hard", type=float, default=0.0, help="fraction of hard clips: spinning objects (`dit`), squares (`unet`)"
    )
    parser.add_argument("--continued", type=float, default=0.0, help="fraction of clips that continue given frames")
    parser.add_argument(
        "--motion-reader",
        choices=("add", "keep"),
        help="`dit`: add: put a block in front of --init that reads the motion of its noise; keep: it has one",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=None,
        help="peak value (default: the part's, chosen for training from scratch)",
    )
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    from tools.training.formats import FORMATS
    from tools.training.loop import Budget, train
    from tools.training.mixture import Mixture

    module, name = PARTS[options.part].split(":")
    if options.large and options.part not in ("vae", "dit"):
        parser.error(f"--large is for vae and dit, not for {options.part}")
    arguments = {"device": options.device, "form": FORMATS["large" if options.large else "small"], "init": options.init}
    if options.batch:
        arguments["batch"] = options.batch
    if options.decoder_only:
        arguments["decoder_only"] = True
    if options.part in ("dit", "unet"):
        warped = options.warped if options.part == "dit" else 0.0
        arguments |= {"vae": options.vae, "mixture": Mixture(warped, options.continued, options.hard)}
    if options.part == "dit":
        arguments["motion_reader"] = options.motion_reader
    part = getattr(importlib.import_module(f"tools.training.{module}"), name)(**arguments)
    if options.learning_rate:
        part.learning_rate = options.learning_rate
    plain_attention = options.device == "cpu" and not options.large
    budget = Budget(options.minutes, options.device, options.out, options.steps, plain_attention=plain_attention)
    print(json.dumps(train(part, budget)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
