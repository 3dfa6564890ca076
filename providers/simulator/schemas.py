"""A value that satisfies a JSON Schema, made from given words: always the same one.

Covers what structured-output and tool schemas use: ``$ref``, ``anyOf/oneOf/allOf``, ``enum``,
``const``, types, ``required``, lengths, bounds. Optional properties are filled in too, except
where a schema refers to itself.
"""

from collections.abc import Mapping

from .reading import JsonObject

_DEPTH_MAX = 12


def instance(schema: JsonObject, words: str) -> object:
    """One value of the schema; strings become ``words`` cut to their bounds."""
    return _value(schema, words, schema, 0)


def _value(schema: JsonObject, words: str, root: JsonObject, depth: int) -> object:
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if choices := sequence(schema.get("enum")):
        return choices[0]
    for union in ("anyOf", "oneOf"):
        if options := sequence(schema.get(union)):
            return _value(mapping(options[0]), words, root, depth)
    match _type(schema):
        case "object":
            return _object(schema, words, root, depth)
        case "array":
            return _array(schema, words, root, depth)
        case "string":
            return _string(schema, words)
        case "integer" | "number":
            return _number(schema, words)
        case "boolean":
            return True
        case _:
            return None


def _object(schema: JsonObject, words: str, root: JsonObject, depth: int) -> dict[str, object]:
    required = sequence(schema.get("required"))
    wanted = {
        name: mapping(part)
        for name, part in mapping(schema.get("properties")).items()
        if name in required or depth < _DEPTH_MAX // 2
    }
    if depth >= _DEPTH_MAX:
        return {}
    return {name: _value(part, words, root, depth + 1) for name, part in wanted.items()}


def _array(schema: JsonObject, words: str, root: JsonObject, depth: int) -> list[object]:
    least = schema.get("minItems")
    length = max(least if isinstance(least, int) else 0, 1)
    if depth >= _DEPTH_MAX:
        return []
    part = mapping(schema.get("items"))
    return [_value(part, words, root, depth + 1) for _ in range(min(length, 1_000))]


def _string(schema: JsonObject, words: str) -> str:
    least, most = schema.get("minLength"), schema.get("maxLength")
    filled = words.ljust(least, ".") if isinstance(least, int) else words
    return filled[:most] if isinstance(most, int) else filled


def _number(schema: JsonObject, words: str) -> float | int:
    number: float | int = len(words.split())
    least, most = schema.get("minimum"), schema.get("maximum")
    if isinstance(least, int | float):
        number = max(number, least)
    return min(number, most) if isinstance(most, int | float) else number


def _resolved(schema: JsonObject, root: JsonObject) -> JsonObject:
    for _ in range(_DEPTH_MAX):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        schema = _at(root, reference)
    parts = [mapping(part) for part in sequence(schema.get("allOf"))]
    return {**schema, **parts[0]} if parts else schema


def _at(root: JsonObject, reference: str) -> JsonObject:
    found: object = root
    for step in reference.lstrip("#/").split("/"):
        found = mapping(found).get(step)
    return mapping(found)


def _type(schema: JsonObject) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Google writes OBJECT, STRING
    return "object" if "properties" in schema else "string"


def mapping(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> list[object]:
    return value if isinstance(value, list) else []
