"""Translations and help pages of the ComfyUI nodes: complete, of the present schemas, and readable by the frontend."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tools.comfyui.examples import EXAMPLES
from tools.comfyui.pages import (
    HELP,
    LANGUAGES,
    english_text,
    entry_of,
    escape,
    help_page,
    key_of,
    locale_file,
    unescape,
    with_tables,
)
from tools.comfyui.schemas import NodeSchema, read_schemas

SCHEMAS = read_schemas()
NODES = [pytest.param(schema, id=schema.node_id) for schema in SCHEMAS]
TRANSLATED = [language for language in LANGUAGES if language != "en"]
#: names that are the same in each language
INTERNATIONAL = re.compile(r"(?i)CLIP|VAE|json|fps|cfg")


def entries_of(language: str) -> dict[str, Any]:
    return json.loads(locale_file(language).read_text(encoding="utf-8"))


def texts_of(entry: Any) -> list[str]:
    return [entry] if isinstance(entry, str) else [text for part in entry.values() for text in texts_of(part)]


def test_the_templates_that_pages_name_exist() -> None:
    pages = [page.read_text(encoding="utf-8") for page in HELP.rglob("*.md")]
    lists = [
        found
        for page in pages
        for found in re.findall(r"(?:templates? |模板 )(`\w+`(?:(?:, | and |、| 和 )`\w+`)*)", page)
    ]
    named = {name for found in lists for name in re.findall(r"`(\w+)`", found)}
    examples = {example.name for example in EXAMPLES}
    assert len(lists) >= 2 * 10 and named <= examples, sorted(named - examples)


def test_the_english_locale_is_of_the_present_schemas() -> None:
    written = locale_file("en").read_text(encoding="utf-8")
    assert written == english_text(SCHEMAS), "write it with `python -m tools.comfyui pages`"


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("schema", NODES)
def test_each_text_is_translated(language: str, schema: NodeSchema) -> None:
    english, found = entry_of(schema), entries_of(language)[schema.node_id]
    for part in ("inputs", "outputs"):
        assert found[part].keys() == english[part].keys()
        assert all(one.keys() == {"name", "tooltip"} for one in found[part].values())
    for text in texts_of(found):
        assert re.search("[\u4e00-\u9fff]", text) or INTERNATIONAL.fullmatch(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_locale_has_entries_of_other_nodes(language: str) -> None:
    assert entries_of(language).keys() == {schema.node_id for schema in SCHEMAS}


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_no_signs_that_the_frontend_interprets(language: str) -> None:
    """Its messages take braces, | and @ for syntax, unless they are quoted."""
    plain = [re.sub(r"{'[{}|@]'}", "", text) for text in texts_of(entries_of(language))]
    assert not [text for text in plain if re.search(r"[{}|@]", text)]
    assert unescape(escape("{a|b}@c")) == "{a|b}@c" and escape("a|b") == "a{'|'}b"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("schema", NODES)
def test_the_help_page_has_the_present_inputs(language: str, schema: NodeSchema) -> None:
    page, entry = help_page(schema.node_id, language).read_text(encoding="utf-8"), entries_of(language)[schema.node_id]
    assert with_tables(page, schema, entry, language) == page, "write it with `python -m tools.comfyui pages`"
    assert page.startswith(f"# {entry['display_name'].removesuffix(' (videogen)')}\n")
    assert page.count("\n## ") >= 3, "when to use it, inputs and outputs, limits or an example"
    assert all(f"`{one.name}`" in page for one in schema.inputs)


def test_each_help_page_is_of_a_node() -> None:
    wanted = {help_page(schema.node_id, language) for schema in SCHEMAS for language in LANGUAGES}
    assert set(HELP.rglob("*.md")) == wanted


def test_the_schemas_are_read_in_full() -> None:
    by_id = {schema.node_id: schema for schema in SCHEMAS}
    recall = next(one for one in by_id["VideogenSparseAttention"].inputs if one.name == "recall")
    assert (recall.type, recall.values["min"], recall.values["max"], recall.optional) == ("FLOAT", 0.05, 1.0, False)
    assert [one.type for one in by_id["VideogenWarpedNoise"].inputs] == ["NOISE", "VIDEOGEN_MOTION", "MODEL", "FLOAT"]
    assert key_of("promise.recall") == "promise_recall"
