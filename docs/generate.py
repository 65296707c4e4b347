"""Write the reference pages that follow from the code: `python docs/generate.py` (`--check` only compares).

`docs/reference/commands.md` comes from the command line itself, `docs/reference/settings.md` from `service/config.py`.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo

FOLDER = Path(__file__).resolve().parent / "reference"
REMARK = "<!-- Made by docs/generate.py from the code; do not edit by hand. -->\n"

EXIT_CODES = """
## Exit codes

| code | means |
|---|---|
| 0 | fine; also after SIGTERM or Ctrl-C, when everything received has been saved |
| 1 | failed |
| 2 | wrong usage, or a malformed address |
| 3 | a setting that does not exist or has a wrong value; an output folder that cannot be written |
| 4 | something was not reached in time |
| 5 | finished, but frames are missing, corrupt or unresolved |

Sentences about what went wrong go to standard error and begin with `xedm:`.
"""

SETTINGS_HEAD = """
# Settings

The same names hold in the TOML file (`--config FILE`), on the command line (`--set section.key=value`, may be repeated;
`none` or `off` for nothing) and over HTTP (`PUT /settings`). The command line wins over the file. Every result file
holds the complete settings it was made with.

```toml
[screening]
chi2_ratio_max = 1.8

[detector]
mask_file = "our_mask.npy"
```

What the stream's header says (size, type, beam centre, mask, distance, wavelength) need not be configured; the section
`detector` overrides it. While the service runs, `screening.*` (but not the ring) and `reconstruction.*` can be changed.
"""

UNITS = {"_s": "s", "_m": "m", "_px": "px", "_mib": "MiB", "_gib": "GiB"}

WORDS = {
    "stream.connect_timeout_s": "how long `--once` waits for a header before it ends with code 4",
    "stream.receive_high_water": "messages that ZeroMQ holds before the sender has to wait",
    "detector.distance_m": "sample to detector",
    "detector.wavelength_m": "of the X-rays",
    "detector.pixel_size_m": "of a detector pixel",
    "screening.enabled": "false: every frame that can be read is summed",
    "screening.intensity_ratio_min": "a total below this part of the reference total is low_intensity",
    "screening.chi2_ratio_max": "chi2 above this many degrees of freedom is a streak",
    "screening.chi2_max": "the same as an absolute number; off unless given",
    "screening.background_ratio_max": "a total below this part of the reference total is background",
    "screening.ring_inner_px": "inner radius of the ring about the beam centre",
    "screening.ring_outer_px": "outer radius of the ring about the beam centre",
    "reconstruction.enabled": "false: no image",
    "reconstruction.timeout_s": "a reconstruction that takes longer is stopped",
    "reconstruction.background": "how the background sum is taken off: its azimuthal mean, itself, or not at all",
    "reconstruction.negative": "where negative intensities count as missing: after binning, or pixel by pixel",
    "reconstruction.algorithm": "hio, raar, dm, er: independent seeds; ghio: guided, as in the paper",
    "reconstruction.seeds": "random starts",
    "reconstruction.iterations": "of each seed, in each generation",
    "reconstruction.generations": "of ghio; the others have one",
    "reconstruction.seed": "of the random numbers; the same seed gives the same image",
    "output.directory": "folder of the result files, made when missing",
    "http.enabled": "false: no page and no API",
    "pvs.enabled": "false: no PVs",
    "pvs.prefix": "start of the PV names",
    "beamline.stage_x": "motor record, um",
    "beamline.stage_y": "motor record, um",
    "beamline.stage_z": "motor record, um",
    "beamline.detector": "prefix of the ADEiger camera records",
    "beamline.shutter_command": "written to open and close the fast shutter",
    "beamline.shutter_status": "its state",
    "beamline.attenuator": "wanted transmission, 0 to 1",
    "beamline.attenuator_moving": "is it moving",
    "beamline.beam_stop": "written to move the beam stop",
    "beamline.beam_stop_status": "its state",
    "beamline.ring_current": "stored current, mA",
    "beamline.ring_countdown": "seconds to the next injection",
    "beamline.live_prefix": "start of the live service's PV names, as seen by the session",
}
"""For settings that have no description in `service/config.py`."""

LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def commands_page() -> str:
    """Describe every subcommand with its arguments and options."""
    from service.cli import app

    parts = [
        REMARK,
        "# Commands\n",
        "Every command has `--help`; `--json` prints one JSON object a line instead of text.\n",
    ]
    for entry in app.registered_commands:
        function = entry.callback
        assert function is not None
        what, _, more = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
        parts.append(f"## xedm {entry.name or function.__name__}\n\n{_flat(what)}\n")
        said, _, example = _flat(more).rpartition("Example: ")
        if said.strip():
            parts.append(f"{said.strip()}\n")
        parts.append(f"```sh\n{example}\n```\n")
        parts.append(_table(("option", "value", "default", "does"), _options(function)))
    return "\n".join(parts) + EXIT_CODES


def _options(function: Callable[..., Any]) -> Iterator[tuple[str, str, str, str]]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is not Annotated:
            continue  # typer's own context
        kind, info = get_args(hints[name])
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            option = f"`{name.upper()}...`"
        else:
            # inside Annotated the first declaration stands where the default would
            declared = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
            option = f"`{declared[0] if declared else '--' + name.replace('_', '-')}`"
        default = "required" if required else _default_of(parameter.default)
        yield option, _value_of(kind), default, info.help or ""


def _value_of(kind: Any) -> str:
    """Name a type for a person: a flag takes no value."""
    names = {bool: "", str: "text", int: "integer", float: "number", Path: "path"}
    parts = [part for part in get_args(kind) if part is not type(None)]
    if not parts:
        return names[kind]
    if get_origin(kind) is list or list in map(get_origin, parts):
        return f"{_value_of(get_args(parts[0])[0] if get_args(parts[0]) else parts[0])}, repeatable"
    return " ".join(_value_of(part) for part in parts)


def _default_of(value: object) -> str:
    return "" if value is None or isinstance(value, bool) else f"`{value}`"


def settings_page() -> str:
    """List every setting with its default, unit, limits and meaning."""
    from service.config import Settings

    parts = [REMARK.rstrip() + SETTINGS_HEAD]
    for section, entry in Settings.model_fields.items():
        model = entry.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        doc = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]
        parts.append(f"## {section}\n\n{doc}\n")
        rows = (_setting(f"{section}.{key}", field) for key, field in model.model_fields.items())
        parts.append(_table(("setting", "default", "unit", "limits", "means"), rows))
    return "\n".join(parts)


def _setting(name: str, field: FieldInfo) -> tuple[str, str, str, str, str]:
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    means = field.description or WORDS.get(name)
    if means is None:
        raise SystemExit(f"setting {name} must have a description; give it one in service/config.py")
    return f"`{name}`", _shown(field.default), unit, _limits(field), means


def _limits(field: FieldInfo) -> str:
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    said = [
        text.format(f"{getattr(rule, key):,g}".replace(",", " "))
        for rule in field.metadata
        for key, text in LIMITS.items()
        if getattr(rule, key, None) is not None
    ]
    return ", ".join(said)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"commands.md": commands_page, "settings.md": settings_page}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or say which are not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a page is not current")
    check = parser.parse_args(arguments).check
    stale = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale = 1
            sys.stderr.write(f"docs/reference/{name} is not current; run: make docs\n")
        else:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
