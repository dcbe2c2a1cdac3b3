"""Names of a model's layers in the layouts of LoRA files: as the model has them, and as its own repository has.

A model's class says which rules apply; a class without a row is found by its own names, and what is still not found by
diffusers' converter. Importing this loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_Rules = tuple[tuple[str, str], ...]

#: (in diffusers' name, in the repository's); applied in this order
_WAN: _Rules = (
    (r"\battn1\.to_out\.0$", "self_attn.o"),
    (r"\battn1\.to_([qkv])$", r"self_attn.\1"),
    (r"\battn2\.to_out\.0$", "cross_attn.o"),
    (r"\battn2\.to_([qkv])$", r"cross_attn.\1"),
    (r"\battn2\.add_([kv])_proj$", r"cross_attn.\1_img"),
    (r"\bffn\.net\.0\.proj$", "ffn.0"),
    (r"\bffn\.net\.2$", "ffn.2"),
    (r"^condition_embedder\.time_embedder\.linear_1$", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2$", "time_embedding.2"),
    (r"^condition_embedder\.text_embedder\.linear_1$", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2$", "text_embedding.2"),
    (r"^condition_embedder\.time_proj$", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj$", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2$", "img_emb.proj.3"),
    (r"^(vace_blocks\.\d+)\.proj_in$", r"\1.before_proj"),
    (r"^(vace_blocks\.\d+)\.proj_out$", r"\1.after_proj"),
    (r"^proj_out$", "head.head"),
)
_LTX: _Rules = ((r"^proj_in$", "patchify_proj"), (r"^time_embed\.", "adaln_single."))
#: motion modules as AnimateDiff's repository names them
_MOTION: _Rules = (
    (r"(motion_modules\.\d+)\.", r"\1.temporal_transformer."),
    (r"(motion_modules\..+)\.attn1\.", r"\1.attention_blocks.0."),
    (r"(motion_modules\..+)\.attn2\.", r"\1.attention_blocks.1."),
)
_CLIP: _Rules = (
    (r"\bself_attn\.([qkv])_proj$", r"self_attn.to_\1"),
    (r"\bself_attn\.out_proj$", "self_attn.to_out.0"),
)
#: start of the class's name -> rules
RULES: dict[str, _Rules] = {
    "Wan": _WAN, "SkyReelsV2": _WAN, "ChronoEdit": _WAN, "AnyFlow": _WAN, "LTXVideo": _LTX, "UNetMotion": _MOTION,
    "CLIPText": _CLIP,
}  # fmt: skip


class LayerNames:
    """Finds a model's layers by the names of a LoRA file. class_name: of the model; layers: the names it has."""

    def __init__(self, class_name: str, layers: Iterable[str]) -> None:
        rules = next((rules for start, rules in RULES.items() if class_name.startswith(start)), ())
        self._dotted: dict[str, str] = {}
        self._flat: dict[str, str] = {}
        for layer in layers:
            for name in _names_of(layer, rules):
                self._dotted.setdefault(name, layer)
                self._flat.setdefault(name.replace(".", "_"), layer)

    def find(self, name: str, *, flat: bool = False) -> str | None:
        """The model's layer; None where it has none of this name."""
        return self._flat.get(name) if flat else self._dotted.get(name)


def _names_of(layer: str, rules: _Rules) -> Iterator[str]:
    yield layer
    other = layer
    for pattern, replacement in rules:
        other = re.sub(pattern, replacement, other)
    if other != layer:
        yield other
    if rules is _CLIP:  # transformers 5 has no `text_model` around the encoder's layers
        for name in dict.fromkeys((layer, other)):
            if name.startswith("text_model."):
                yield name.removeprefix("text_model.")
            else:
                yield f"text_model.{name}"
