"""Translations and help pages of the nodes: `python -m tools.comfyui pages` writes what follows from the schemas.

`locales/en/nodeDefs.json` is written from the schemas. The translations are edited by hand. A help page is a text
with tables of inputs and outputs between marks, which are written in the page's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .schemas import InputSchema, NodeSchema, OutputSchema, read_schemas

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
HELP = ROOT / "videogen" / "comfyui" / "web" / "docs"
LANGUAGES = ("en", "zh")
BEGIN, END = "<!-- inputs: begin (python -m tools.comfyui pages) -->", "<!-- inputs: end -->"
_HEADS = {
    "en": ("input", "type", "default", "range", "what it does", "output", "optional", "advanced"),
    "zh": ("输入", "类型", "默认值", "范围", "作用", "输出", "可选", "高级"),
}
_SIMPLE = {"INT", "FLOAT"}

Entry = dict[str, Any]


def locale_file(language: str) -> Path:
    """Names and texts of the nodes in a language, as ComfyUI's frontend reads them."""
    return LOCALES / language / "nodeDefs.json"


def help_page(node_id: str, language: str) -> Path:
    """ComfyUI reads `NODE_ID/LANGUAGE.md` first, then `NODE_ID.md`."""
    return HELP / f"{node_id}.md" if language == "en" else HELP / node_id / f"{language}.md"


def escape(text: str) -> str:
    """A text for a locale: the frontend takes these signs for syntax."""
    return re.sub(r"[{}|@]", lambda sign: f"{{'{sign[0]}'}}", text)


def unescape(text: str) -> str:
    """A text of a locale as the user reads it."""
    return re.sub(r"{'([{}|@])'}", r"\1", text)


def key_of(name: str) -> str:
    """An input's key in a locale: the frontend takes dots for levels."""
    return name.replace(".", "_")


def entry_of(schema: NodeSchema) -> Entry:
    """A node's texts in English."""
    return {
        "display_name": escape(schema.display_name),
        "description": escape(schema.description),
        "inputs": {key_of(one.name): _texts(one) for one in schema.inputs},
        "outputs": {str(number): _texts(one) for number, one in enumerate(schema.outputs)},
    }


def _texts(one: InputSchema | OutputSchema) -> dict[str, str]:
    return {"name": escape(one.label), "tooltip": escape(one.tooltip)}


def english_text(schemas: tuple[NodeSchema, ...]) -> str:
    """The English locale's file."""
    return dump({schema.node_id: entry_of(schema) for schema in schemas})


def dump(entries: dict[str, Entry]) -> str:
    return json.dumps(entries, ensure_ascii=False, indent=2) + "\n"


def with_tables(page: str, schema: NodeSchema, entry: Entry, language: str) -> str:
    """A help page with its tables between the marks; entry: the node's texts in the page's language."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{build_tables(schema, entry, language)}\n\n{END}{rest.partition(END)[2]}"


def build_tables(schema: NodeSchema, entry: Entry, language: str) -> str:
    """Inputs and outputs as Markdown."""
    name, kind, default, reach, effect, output, *_ = _HEADS[language]
    tables = []
    if schema.inputs:
        rows = [_input_row(one, entry["inputs"][key_of(one.name)]["tooltip"], language) for one in schema.inputs]
        tables.append(_table((name, kind, default, reach, effect), rows))
    outputs = [
        (f"`{one.label}`", one.type, unescape(entry["outputs"][str(number)]["tooltip"]))
        for number, one in enumerate(schema.outputs)
    ]
    if outputs:
        tables.append(_table((output, kind, effect), outputs))
    return "\n\n".join(tables)


def _input_row(one: InputSchema, tooltip: str, language: str) -> tuple[str, ...]:
    *_, optional, advanced = _HEADS[language]
    marks = [word for word, holds in ((optional, one.optional), (advanced, one.advanced)) if holds]
    tooltip = unescape(tooltip)
    name = f"`{one.name}`" + (f" ({', '.join(marks)})" if marks else "")
    default = one.values.get("default")
    return name, one.type, "" if default in (None, "") else f"`{default}`", _range(one), tooltip.replace("|", "\\|")


def _range(one: InputSchema) -> str:
    if options := one.values.get("options"):
        return ", ".join(f"`{option}`" for option in options)
    if one.type in _SIMPLE and "min" in one.values and "max" in one.values:
        return f"{one.values['min']} – {one.values['max']}"
    return ""


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _has_texts(entry: Entry | None, schema: NodeSchema) -> bool:
    inputs = {key_of(one.name) for one in schema.inputs}
    return entry is not None and inputs <= entry["inputs"].keys() and len(schema.outputs) <= len(entry["outputs"])


def write_pages() -> None:
    """Write the English locale, and the tables of all help pages that exist."""
    schemas = read_schemas()
    locale_file("en").write_text(english_text(schemas), encoding="utf-8")
    for language in LANGUAGES:
        entries = json.loads(locale_file(language).read_text(encoding="utf-8"))
        for schema in schemas:
            page = help_page(schema.node_id, language)
            if not page.exists() or not _has_texts(entries.get(schema.node_id), schema):
                print(f"missing: {page.relative_to(ROOT)}, or its texts in {locale_file(language).relative_to(ROOT)}")
                continue
            text = with_tables(page.read_text(encoding="utf-8"), schema, entries[schema.node_id], language)
            page.write_text(text, encoding="utf-8")
