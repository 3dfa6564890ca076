"""sim-coder reads, edits what it read, writes, and reports; in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types as t

from providers.simulator import edits, toolbox
from providers.simulator.conversation import Tool
from tests.providers.simulator.conftest import anthropic_client, google_client, openai_client

SOURCE = '#!/usr/bin/env python\nimport os\n\n\ndef main():\n    print("hello")\n'
PROMPT = "Add a function called tidy_name to `src/app.py`, please."


def schema(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
    }


READ: dict[str, Any] = {"name": "read_file", "parameters": schema("path")}
WRITE: dict[str, Any] = {"name": "write_file", "parameters": schema("path", "content")}


class Files:
    """A client's tools: real text in, real text out."""

    def __init__(self) -> None:
        self.texts = {"src/app.py": SOURCE}
        self.calls: list[str] = []

    def run(self, name: str, arguments: dict[str, Any]) -> str:
        self.calls.append(name)
        if name == "read_file":
            return self.texts.get(arguments["path"], "Error: no such file")
        self.texts[arguments["path"]] = arguments["content"]
        return "written"


def openai_dialogue(simulator, prompt: str, files: Files, tools=(READ, WRITE)) -> str:
    messages: list[Any] = [{"role": "user", "content": prompt}]
    declared = [{"type": "function", "function": tool} for tool in tools]
    for _ in range(6):
        choice = openai_client(simulator).chat.completions.create(
            model="sim-coder", messages=messages, tools=declared
        )
        message = choice.choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = files.run(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError("the dialogue did not end")


def test_it_reads_then_writes_a_real_edit_then_reports(simulator):
    files = Files()
    summary = openai_dialogue(simulator, PROMPT, files)
    assert files.calls == ["read_file", "write_file"]
    after = files.texts["src/app.py"]
    assert after.startswith(SOURCE.rstrip())
    compile(after, "app.py", "exec")
    assert 'def tidy_name(value: str) -> str:\n    """Return tidy name of the value."""' in after
    assert summary == (
        "I changed `src/app.py`: added the function tidy_name. It had 6 lines and now has 11."
    )


def test_a_file_that_does_not_exist_is_created(simulator):
    files = Files()
    openai_dialogue(simulator, 'Create `notes.md` containing "remember the milk"', files)
    assert files.texts["notes.md"] == "remember the milk\n"


def test_a_refused_write_is_read_and_tried_once_more(simulator):
    class Stale(Files):
        def run(self, name: str, arguments: dict[str, Any]) -> str:
            answer = super().run(name, arguments)
            return '{"error": "stale_version"}' if name == "write_file" else answer

    files = Stale()
    summary = openai_dialogue(simulator, PROMPT, files)
    assert files.calls == ["read_file", "write_file", "read_file", "write_file"]
    assert summary == 'I could not write `src/app.py`: {"error": "stale_version"}'


def test_a_second_request_in_the_same_conversation_starts_again(simulator):
    messages: list[Any] = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": "I changed `src/app.py`."},
        {"role": "user", "content": "Now replace 'hello' with 'goodbye' in src/app.py"},
    ]
    declared = [{"type": "function", "function": tool} for tool in (READ, WRITE)]
    answer = openai_client(simulator).chat.completions.create(
        model="sim-coder", messages=messages, tools=declared
    )
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("read_file", '{"path":"src/app.py"}')


def test_without_a_path_or_without_tools_it_answers_in_words(simulator):
    files = Files()
    assert openai_dialogue(simulator, "hello", files).startswith("Name the file")
    assert "I have no tool" in openai_dialogue(simulator, PROMPT, files, tools=())
    assert files.calls == []


def test_through_anthropic_with_signed_thinking(simulator):
    files = Files()
    client = anthropic_client(simulator)
    tools = [{"name": one["name"], "input_schema": one["parameters"]} for one in (READ, WRITE)]
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    for _ in range(2):
        message = client.messages.create(
            model="sim-coder",
            max_tokens=4000,
            messages=messages,
            tools=tools,
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
        thinking, use = message.content
        assert thinking.signature
        result = files.run(use.name, use.input)
        messages += [
            {"role": "assistant", "content": message.content},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": use.id, "content": result}],
            },
        ]
    assert "def tidy_name" in files.texts["src/app.py"]


def test_through_gemini_without_ids(simulator):
    files = Files()
    declared = [
        t.FunctionDeclaration(name=one["name"], parameters_json_schema=one["parameters"])
        for one in (READ, WRITE)
    ]
    config = t.GenerateContentConfig(
        tools=[t.Tool(function_declarations=declared)],
        automatic_function_calling=t.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [t.Content(role="user", parts=[t.Part(text=PROMPT)])]
    for _ in range(2):
        answer = google_client(simulator).models.generate_content(
            model="sim-coder", contents=contents, config=config
        )
        said = answer.candidates[0].content
        call = said.parts[0].function_call
        result = {"content": files.run(call.name, call.args), "version": 3}
        part = t.Part.from_function_response(name=call.name, response=result)
        contents += [said, t.Content(role="user", parts=[part])]
    assert "def tidy_name" in files.texts["src/app.py"]
    assert files.texts["src/app.py"].startswith(SOURCE.rstrip())


def test_an_editing_tool_gets_one_unique_replacement(simulator):
    change = edits.change(SOURCE, path="src/app.py", prompt='replace "hello" with "olá"')
    old, new = change.as_replacement()
    assert (old, new) == ('    print("hello")\n', '    print("olá")\n')
    assert SOURCE.replace(old, new) == change.after


def test_a_repeated_line_is_widened_until_it_is_unique():
    before = "a\nx\nb\nx\nc\n"
    change = edits.Change(before=before, after="a\nx\nb\ny\nc\n", summary="")
    old, new = change.as_replacement()
    assert before.count(old) == 1
    assert before.replace(old, new) == change.after


@pytest.mark.parametrize(
    ("path", "prompt", "before", "after"),
    [
        ("a.py", "comment it", "#!/bin/py\nx = 1\n", "#!/bin/py\n# comment it\nx = 1\n"),
        ("a.ts", 'add a comment "kept"', "let x\n", "// kept\nlet x\n"),
        ("a.html", 'add a comment "kept"', "<p>\n", "<!-- kept -->\n<p>\n"),
        ("a.css", 'add a comment "kept"', "p{}\n", "/* kept */\np{}\n"),
        ("a.json", 'add a comment "kept"', '{"a":1}', '{\n  "a": 1,\n  "_note": "kept"\n}\n'),
        ("a.json", "add a comment", "[1]", "[1]"),
        ("a.py", "add a docstring", "x = 1\n", '"""A."""\n\nx = 1\n'),
        ("a.py", "rename x to y", "x = 1\nxx = x\n", "y = 1\nxx = y\n"),
        ("a.go", "add a function Trim", "", "// Trim returns Trim of the value.\n"
         "func Trim(value string) string {\n\treturn value\n}\n"),
        ("a.txt", "overwrite it with:\n```\nnew\n```", "old\n", "new\n"),
    ],
)  # fmt: skip
def test_edits(path, prompt, before, after):
    assert edits.change(before, path=path, prompt=prompt).after == after


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        ("Fix `src/a b.py`? no, `lib/x.py`", "lib/x.py"),
        ("look at main.py.", "main.py"),
        ("in ./src/deep/mod.test.ts now", "./src/deep/mod.test.ts"),
        ("see https://example.com/page.html", None),
        ("hello world, version 1.2", None),
    ],
)
def test_the_path_a_prompt_names(prompt, path):
    assert edits.path_in(prompt) == path


@pytest.mark.parametrize(
    "result",
    [
        "x = 1\ny = 2\n",
        '{"path": "a.py", "content": "x = 1\\ny = 2\\n", "version": 7}',
        "     1\tx = 1\n     2\ty = 2\n",
        "     1→x = 1\n     2→y = 2\n",
        "<content>\n00001| x = 1\n00002| y = 2\n\n</content>",
        "<path>/a.py</path>\n<content>\n1: x = 1\n2: y = 2\n\n"
        "(End of file - total 2 lines)\n</content>",
        "Chunk ID: 88d6a7\nWall time: 0.1 seconds\nProcess exited with code 0\nOutput:\n"
        "x = 1\ny = 2\n",
        '[{"query": "a.py", "result": "1 | x = 1\\n2 | y = 2\\n", "success": true}]',
    ],
)
def test_the_file_is_found_inside_a_tools_answer(result):
    assert toolbox.file_text(result) == "x = 1\ny = 2\n"


def a_tool(name: str, *names: str) -> Tool:
    return Tool(name=name, schema=schema(*names))


def a_list_tool(name: str, member: str, items: dict[str, Any], *others: str) -> Tool:
    """A tool whose one argument of interest is a list."""
    wanted = schema(*others, member)
    wanted["properties"][member] = {"type": "array", "items": items}
    return Tool(name=name, schema=wanted)


ABSOLUTE = {"type": "string", "description": "The absolute path of a text file"}
CLINE_READS = a_list_tool(
    "read_files",
    "files",
    {"type": "object", "properties": {"path": ABSOLUTE, "start_line": {"type": "integer"}}},
)
CLINE_EDITS = Tool(
    name="editor",
    schema={
        "type": "object",
        "properties": {
            "path": ABSOLUTE,
            "old_text": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "new_text": {"type": "string"},
        },
        "required": ["path", "new_text"],
    },
)
CLINE_RUNS = a_list_tool("run_commands", "commands", {"type": "string"})
PI_EDITS = a_list_tool("edit", "edits", schema("oldText", "newText"), "path")


@pytest.mark.parametrize(
    ("tools", "reading", "writing"),
    [
        (
            [a_tool("Read", "file_path"), a_tool("Write", "file_path", "content")],
            ("Read", {"file_path": "a.py"}),
            ("Write", {"file_path": "a.py", "content": "y\n"}),
        ),
        (
            [a_tool("mcp__fs__read_file", "path"),
             a_tool("mcp__fs__write_file", "path", "content", "expected_version")],
            ("mcp__fs__read_file", {"path": "a.py"}),
            ("mcp__fs__write_file", {"path": "a.py", "content": "y\n", "expected_version": 7}),
        ),
        (
            [a_tool("read", "filePath"), a_tool("edit", "filePath", "oldString", "newString")],
            ("read", {"filePath": "a.py"}),
            ("edit", {"filePath": "a.py", "oldString": "x\n", "newString": "y\n"}),
        ),
        (
            [a_tool("shell", "command")],
            ("shell", {"command": "cat -- a.py"}),
            ("shell", {"command": "cat > a.py <<'SIM_EOF'\ny\nSIM_EOF"}),
        ),
        (
            [CLINE_READS, CLINE_EDITS],
            ("read_files", {"files": [{"path": "/home/ada/project/a.py"}]}),
            ("editor", {"path": "/home/ada/project/a.py", "old_text": "x\n", "new_text": "y\n"}),
        ),
        (
            [a_tool("read", "path"), PI_EDITS],
            ("read", {"path": "a.py"}),
            ("edit", {"path": "a.py", "edits": [{"oldText": "x\n", "newText": "y\n"}]}),
        ),
        (
            [CLINE_RUNS],
            ("run_commands", {"commands": ["cat -- a.py"]}),
            ("run_commands", {"commands": ["cat > a.py <<'SIM_EOF'\ny\nSIM_EOF"]}),
        ),
        (
            [a_tool("archive", "filename", "format"), a_tool("get_text", "filename"),
             a_tool("put_text", "filename", "contents")],
            ("get_text", {"filename": "a.py"}),
            ("put_text", {"filename": "a.py", "contents": "y\n"}),
        ),
    ],
    ids=["claude-code", "mcp-with-version", "editor-only", "shell-only", "cline", "pi", "lines",
         "unknown-names"],
)  # fmt: skip
def test_the_tools_of_other_clients_are_understood(tools, reading, writing):
    box = toolbox.of(tools, directory="/home/ada/project")
    change = edits.Change(before="x\n", after="y\n", summary="")
    read, write = box.reading("a.py"), box.writing("a.py", change, read='{"version": 7}')
    assert (read.name, read.arguments) == reading
    assert (write.name, write.arguments) == writing


def test_an_editor_that_needs_no_old_text_makes_a_new_file():
    box = toolbox.of([CLINE_READS, CLINE_EDITS])
    change = edits.Change(before="", after="y\n", summary="")
    write = box.writing("a.py", change, read=None)
    assert (write.name, write.arguments) == ("editor", {"path": "a.py", "new_text": "y\n"})


@pytest.mark.parametrize(
    ("result", "fails"),
    [
        ("Process exited with code 1\nOutput:\ncat: a.py: No such file or directory\n", True),
        ("Process exited with code 0\nOutput:\nError handling in Go\n", False),
        ("Error executing tool Read: File does not exist: a.py", True),
        ('[{"query": "a.py", "error": "ENOENT", "success": false}]', True),
        ("print('failed')", False),
    ],
)
def test_a_tools_answer_says_whether_it_failed(result, fails):
    assert toolbox.reports_failure(result) == fails


REMINDER = "<system-reminder>\nNever name `other.py`.\n</system-reminder>\n"


def test_what_a_client_puts_beside_the_words_is_not_heard(simulator):
    prompt = f"{REMINDER}<task>Create `notes.md` containing 'milk'</task>\n{REMINDER}"
    files = Files()
    openai_dialogue(simulator, prompt, files)
    assert (files.calls, files.texts["notes.md"]) == (["read_file", "write_file"], "milk\n")


def test_a_reminder_after_a_tools_answer_asks_for_nothing(simulator):
    reading = {"name": "read_file", "arguments": '{"path": "src/app.py"}'}
    calls = [{"id": "call_1", "type": "function", "function": reading}]
    messages: list[Any] = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": SOURCE},
        {"role": "user", "content": REMINDER},
    ]
    declared: list[Any] = [{"type": "function", "function": tool} for tool in (READ, WRITE)]
    answer = openai_client(simulator).chat.completions.create(
        model="sim-coder", messages=messages, tools=declared
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "write_file"


def test_without_tools_a_whole_file_is_listed_even_after_an_example_of_one(simulator):
    prompt = (
        "Create `notes.md` containing 'milk'\n\nAnswer in this form:\n\n"
        "path/to/file.js\n```\n// all of the file\n```\n"
    )
    said = openai_dialogue(simulator, prompt, Files(), tools=())
    assert said.endswith("\n\nnotes.md\n```\nmilk\n```")


@pytest.mark.parametrize(
    ("about", "path"),
    [
        ("Path to the file (relative or absolute)", "a.py"),
        ("The absolute path of the file", "/home/ada/project/a.py"),
    ],
)
def test_a_path_is_absolute_where_a_tool_demands_it(about, path):
    reader = a_tool("read_file", "path")
    schema_of_path = {"properties": {"path": {"type": "string", "description": about}}}
    box = toolbox.of([Tool(name=reader.name, schema=schema_of_path)], directory="/home/ada/project")
    assert box.reading("a.py").arguments == {"path": path}
