"""What ``sim-coder`` does to a text: a real edit, the same for the same prompt and file.

Understood requests, first match wins:

- ``replace "a" with "b"``, ``rename a to b``: every occurrence,
- a fenced code block in the prompt, or ``containing "..."``: becomes the file when it is new or
  when the prompt says create/overwrite, else is appended,
- ``add a function NAME``: a documented function is appended, in the file's language,
- ``add a docstring``: Python only, when the module has none,
- ``add a comment "..."`` or anything else: a comment with the request goes on top.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

_PATH = re.compile(
    r"(?<![\w/.:-])(?:\.{0,2}/)?(?:[\w.@+-]+/)*[\w@+-][\w.@+-]*\.[A-Za-z][A-Za-z0-9]{0,9}(?![\w/])"
)
_QUOTED_PATH = re.compile(r"[`\"']([^\s`\"']+/[^\s`\"']+|[^\s`\"']+\.[A-Za-z0-9]{1,10})[`\"']")
_REPLACE = re.compile(
    r"""replace\s+(["'`])(.+?)\1\s+(?:with|by)\s+(["'`])(.*?)\3""", re.IGNORECASE | re.DOTALL
)
_RENAME = re.compile(
    r"rename\s+[`\"']?([\w$]+)[`\"']?\s+(?:to|into)\s+[`\"']?([\w$]+)", re.IGNORECASE
)
_FENCE = re.compile(r"```[\w+-]*\n(.*?)```", re.DOTALL)
_CONTAINING = re.compile(
    r"""(?:containing|content|contents|line|text)\s+(["'`])(.+?)\1""", re.IGNORECASE
)
_FUNCTION = re.compile(
    r"(?:function|method|def|helper)\s+(?:called\s+|named\s+)?[`\"']?([A-Za-z_]\w*)", re.IGNORECASE
)
_COMMENT = re.compile(
    r"""comment\s*(?:saying|that says|:)?\s*(["'`])(.+?)\1""", re.IGNORECASE | re.DOTALL
)
_CREATES = re.compile(r"\b(create|overwrite|new file)\b", re.IGNORECASE)
_NOT_NAMES = {"that", "to", "which", "in", "for", "with", "at", "and", "of", "the", "a"}
_LINE_COMMENTS = {
    "#": "py rb sh bash zsh yml yaml toml ini cfg conf pl r mk dockerfile tf txt env",
    "//": "js jsx ts tsx mjs cjs go rs java c h cc cpp hpp cs kt swift scala php dart proto",
    "--": "sql lua hs elm",
    ";": "lisp clj asm",
}
_COMMENT_OF = {ending: mark for mark, all_ in _LINE_COMMENTS.items() for ending in all_.split()}
_BLOCK_COMMENTS = {"html": ("<!--", "-->"), "css": ("/*", "*/")}
_BLOCK_OF = {
    **dict.fromkeys(
        ["html", "htm", "xml", "svg", "md", "markdown", "vue", "svelte"], _BLOCK_COMMENTS["html"]
    ),
    **dict.fromkeys(["css", "scss", "less"], _BLOCK_COMMENTS["css"]),
}
_HEADS = ("#!", "<?", "<!DOCTYPE", "<!doctype", "# -*-", "# coding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An edit: the text before and after, and what was done, in words."""

    before: str
    after: str
    summary: str

    def as_replacement(self) -> tuple[str, str]:
        """The edit as one (old, new) pair of whole lines, ``old`` occurring once in ``before``.

        Grows from the changed lines until it is unique; an empty file has nothing to find.
        """
        old, new = self.before.splitlines(keepends=True), self.after.splitlines(keepends=True)
        start = _common(old, new)
        end = _common(old[start:][::-1], new[start:][::-1])
        while True:
            found = "".join(old[start : len(old) - end])
            if (found and self.before.count(found) == 1) or (start == 0 and end == 0):
                return found, "".join(new[start : len(new) - end])
            start, end = max(start - 1, 0), max(end - 1, 0)


def path_in(prompt: str) -> str | None:
    """The file a prompt names: quoted first, then anything that looks like a path."""
    if quoted := _QUOTED_PATH.search(prompt):
        return quoted[1]
    found = _PATH.search(prompt)
    return found[0] if found else None


def change(before: str, *, path: str, prompt: str) -> Change:
    """The edit that the prompt asks for."""
    after, summary = _edited(before, path, prompt)
    return Change(before=before, after=after, summary=summary)


def _edited(before: str, path: str, prompt: str) -> tuple[str, str]:
    if (match := _REPLACE.search(prompt)) and match[2] in before:
        return before.replace(match[2], match[4]), f"replaced {match[2]!r} with {match[4]!r}"
    if (match := _RENAME.search(prompt)) and re.search(rf"\b{match[1]}\b", before):
        renamed = re.sub(rf"\b{re.escape(match[1])}\b", lambda _: match[2], before)
        return renamed, f"renamed {match[1]} to {match[2]}"
    if (given := _given_text(prompt)) is not None:
        return _placed(before, given, prompt)
    name = _function_name(prompt)
    if name and (lines := _function(name, path)):
        return _appended(before, lines), f"added the function {name}"
    return _commented(before, path, prompt)


def _given_text(prompt: str) -> str | None:
    """What comes first: a client may add a fenced example of the form it wants."""
    fence, match = _FENCE.search(prompt), _CONTAINING.search(prompt)
    if fence and (match is None or fence.start() < match.start()):
        return fence[1]
    return f"{match[2]}\n" if match else None


def _placed(before: str, given: str, prompt: str) -> tuple[str, str]:
    if not before or _CREATES.search(prompt):
        return given, "wrote the given text"
    return _appended(before, given), "appended the given text"


def _appended(before: str, lines: str) -> str:
    if not before:
        return lines
    return f"{before.rstrip()}\n\n\n{lines}"


def _function_name(prompt: str) -> str | None:
    names = [name for name in _FUNCTION.findall(prompt) if name.lower() not in _NOT_NAMES]
    return names[0] if names else None


def _function(name: str, path: str) -> str | None:
    """A small documented function in the language of the path; None where there is none."""
    words = name.replace("_", " ").strip()
    match _ending(path):
        case "py":
            return f'def {name}(value: str) -> str:\n    """Return {words} of the value."""\n' + (
                "    return value.strip()\n"
            )
        case "js" | "jsx" | "mjs" | "cjs":
            return f"/** Return {words} of the value. */\nexport function {name}(value) {{\n" + (
                "  return String(value).trim();\n}\n"
            )
        case "ts" | "tsx":
            return (
                f"/** Return {words} of the value. */\n"
                f"export function {name}(value: string): string {{\n  return value.trim();\n}}\n"
            )
        case "go":
            return (
                f"// {name} returns {words} of the value.\n"
                f"func {name}(value string) string {{\n\treturn value\n}}\n"
            )
        case "rs":
            return (
                f"/// Returns {words} of the value.\n"
                f"pub fn {name}(value: &str) -> String {{\n    value.trim().to_string()\n}}\n"
            )
        case "sh" | "bash":
            return f"# Prints {words} of the value.\n{name}() {{\n  printf '%s\\n' \"$1\"\n}}\n"
        case _:
            return None


def _commented(before: str, path: str, prompt: str) -> tuple[str, str]:
    if _ending(path) == "py" and "docstring" in prompt.lower() and not _has_docstring(before):
        title = PurePosixPath(path).stem.replace("_", " ").strip().capitalize() or "Module"
        return _on_top(before, f'"""{title}."""\n\n'), "added a module docstring"
    words = _comment_words(prompt)
    if _ending(path) == "json":
        return _noted(before, words)
    opening, closing = _BLOCK_OF.get(_ending(path), (_COMMENT_OF.get(_ending(path), "#"), ""))
    line = f"{opening} {words} {closing}".rstrip()
    return _on_top(before, f"{line}\n"), f"added the comment {line!r}"


def _comment_words(prompt: str) -> str:
    match = _COMMENT.search(prompt)
    words = match[2] if match else prompt
    first = " ".join(words.split())
    return first[:120].replace("*/", "* /").replace("-->", "-- >") or "Edited."


def _noted(before: str, words: str) -> tuple[str, str]:
    """JSON has no comments: the note becomes a key, where the file is an object."""
    try:
        value: object = msgspec.json.decode(before.encode()) if before.strip() else {}
    except msgspec.DecodeError:
        return before, "left it alone, for it is not valid JSON"
    if not isinstance(value, dict):
        return before, "left it alone, for it is not a JSON object"
    text = msgspec.json.format(msgspec.json.encode({**value, "_note": words}), indent=2).decode()
    return f"{text}\n", "added the key _note"


def _on_top(before: str, line: str) -> str:
    """Put a line first, but after a shebang, an encoding line or a document type."""
    first, newline, rest = before.partition("\n")
    if first.startswith(_HEADS):
        return f"{first}\n{line}{rest}"
    return f"{line}{first}{newline}{rest}"


def _has_docstring(before: str) -> bool:
    lines = [one for one in before.splitlines() if one.strip() and not one.startswith("#")]
    return bool(lines) and lines[0].lstrip().startswith(('"""', "'''", 'r"""'))


def _ending(path: str) -> str:
    name = PurePosixPath(path)
    return name.suffix[1:].lower() or name.name.lower()


def _common(left: list[str], right: list[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
