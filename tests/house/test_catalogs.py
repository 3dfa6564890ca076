"""Every word of a page is there in every language, and compiled as it is written."""

from __future__ import annotations

import ast
import gettext
import io
import re

import pytest
from django.conf import settings
from django.utils.translation.template import templatize

from ideplatform.management import catalogs
from tests.house import source

CALLS = {"gettext", "gettext_lazy", "_"}
TEXT = re.compile(r"""\b(?:n?gettext|_)\(u?((?:'(?:[^'\\]|\\.)*')|(?:"(?:[^"\\]|\\.)*"))""")
PLURAL = re.compile(r"""\bngettext\(u?('[^']*'|"[^"]*"), ?u?('[^']*'|"[^"]*")""")


def _of_templates() -> set[str]:
    found: set[str] = set()
    templates = source.ROOT / "templates"
    places = [templates / name for name in ("account", "billing", "emails")]
    pages = [page for place in places for page in place.rglob("*.*")]
    for path in [*pages, templates / "base.html"]:
        code = templatize(path.read_text(encoding="utf-8"))
        found |= {ast.literal_eval(text) for text in TEXT.findall(code)}
    return found


def _of_code() -> set[str]:
    return {
        str(call.args[0].value)
        for path in source.files("accounts", "billing")
        if "web" in path.parts
        for call in ast.walk(source.tree(path))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in CALLS
        and isinstance(call.args[0], ast.Constant)
    }


def _translations() -> dict[str, str]:
    (path,) = catalogs.sources()
    return catalogs.read(path.read_text(encoding="utf-8"))


def test_the_languages_offered_are_those_with_a_catalogue():
    written = {path.parts[-3].lower().replace("_", "-") for path in catalogs.sources()}
    assert written | {settings.LANGUAGE_CODE} == {code for code, _ in settings.LANGUAGES}


def test_no_compiled_catalogue_has_drifted():
    assert catalogs.drifted() == []


def test_every_message_has_a_translation():
    known = {key.partition("\0")[0]: value for key, value in _translations().items()}
    wanted = _of_templates() | _of_code()
    assert len(wanted) > 200
    assert sorted(text for text in wanted if not known.get(text)) == []


def test_no_translation_is_of_a_message_that_is_gone():
    wanted = _of_templates() | _of_code()
    known = {key.partition("\0")[0] for key in _translations()}
    assert sorted(known - wanted - {""}) == []


def test_a_translation_fills_in_what_its_message_does():
    names = re.compile(r"%\((\w+)\)s")
    for message, translation in _translations().items():
        if message:
            one = message.partition("\0")[2] or message
            assert set(names.findall(one)) == set(names.findall(translation)), message


def test_what_we_compile_is_read_by_gettext():
    text = (
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
        '"Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\n'
        'msgid "a"\nmsgstr ""\n"á"\n\n'
        'msgctxt "of ships"\nmsgid "port"\nmsgstr "bombordo"\n\n'
        'msgid "%(n)s day"\nmsgid_plural "%(n)s days"\n'
        'msgstr[0] "%(n)s dia"\nmsgstr[1] "%(n)s dias"\n\n'
        'msgid "nobody translated this"\nmsgstr ""\n'
    )
    read = gettext.GNUTranslations(io.BytesIO(catalogs.compiled(text)))
    assert (read.gettext("a"), read.pgettext("of ships", "port")) == ("á", "bombordo")
    days = [read.ngettext("%(n)s day", "%(n)s days", number) for number in (1, 2)]
    assert days == ["%(n)s dia", "%(n)s dias"]
    assert read.gettext("nobody translated this") == "nobody translated this"


@pytest.mark.parametrize(
    "text",
    [
        '#, fuzzy\nmsgid "a"\nmsgstr "b"\n',
        'msgid "a"\nmsgstr "b"\nwhat\n',
        'msgid "a"\nmsgstr "b"\n\nmsgid "a"\nmsgstr "c"\n',
    ],
)
def test_a_catalogue_that_nobody_looked_at_is_refused(text):
    with pytest.raises(catalogs.MalformedCatalog):
        catalogs.compiled(text)


def test_drift_is_noticed(tmp_path):
    place = tmp_path / "pt_BR" / "LC_MESSAGES"
    place.mkdir(parents=True)
    (place / "django.po").write_text('msgid "a"\nmsgstr "b"\n', encoding="utf-8")
    assert catalogs.drifted(tmp_path) == [place / "django.mo"]
    catalogs.write(tmp_path)
    assert catalogs.drifted(tmp_path) == []
    (place / "django.po").write_text('msgid "a"\nmsgstr "c"\n', encoding="utf-8")
    assert catalogs.drifted(tmp_path) == [place / "django.mo"]
