"""Reads one Eiger file for its parent: `python -m service.foreign_files_child PATH`.

Requests come on standard input, one JSON line each: `{"header": SERIES}` or `{"frame": NUMBER, "series": SERIES}`.
Each answer is a JSON line, whose `bytes` says how many bytes follow it. The first answer needs no request.
"""

import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from processing.frame import SeriesHeader
from service.eiger_file import EigerFile
from service.errors import UserError

_MAX_REQUEST = 4096
_MAX_TEXT = 1000
_LEFT_OUT = ("valid", "appendix", "config")

Answer = tuple[dict[str, Any], bytes | memoryview]


def main(path: Path) -> None:
    """Open the file and answer until nobody asks any more."""
    # A library that prints must not be able to speak for us.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        file = EigerFile(path)
    except UserError as error:
        _send(answers, _refusal(str(error)))
        return
    except MemoryError:
        raise  # its limit is there to end this process
    except Exception as error:  # noqa: BLE001 - whatever a foreign file makes the library raise
        _send(answers, _refusal(f"file {path} cannot be read as an Eiger master file: {_words(error)}"))
        return
    _send(answers, ({"frames": len(file), "rows": file.shape[0], "cols": file.shape[1]}, b""))
    while line := sys.stdin.buffer.readline(_MAX_REQUEST):
        request = json.loads(line)
        try:
            answer = _header(file, request["header"]) if "header" in request else _frame(file, request)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            what = f"frame {request['frame']}" if "frame" in request else "the header"
            answer = _refusal(f"{what} of {path} cannot be read: {_words(error)}")
        _send(answers, answer)


def _header(file: EigerFile, series: int) -> Answer:
    header = file.header(series)
    facts = {field.name: getattr(header, field.name) for field in fields(SeriesHeader) if field.name not in _LEFT_OUT}
    facts["config"] = {str(key)[:100]: str(value)[:_MAX_TEXT] for key, value in list(header.config.items())[:50]}
    mask = b"" if header.valid is None else np.packbits(header.valid).tobytes()
    return {"header": facts}, mask


def _frame(file: EigerFile, request: dict[str, int]) -> Answer:
    frame = file.frame(request["series"], request["frame"])
    if frame is None:
        return {"frame": None}, b""
    if frame.shape != file.shape:
        return _refusal(f"frame {frame.frame} must have the shape {file.shape}, got {frame.shape}")
    return {"frame": {"pixel_type": frame.pixel_type, "encoding": frame.encoding}}, frame.blob


def _refusal(sentence: str) -> Answer:
    return {"refused": sentence[:_MAX_TEXT]}, b""


def _words(error: Exception) -> str:
    return f"{(str(error).splitlines() or [''])[0][:200] or type(error).__name__}"


def _send(answers: BinaryIO, answer: Answer) -> None:
    facts, blob = answer
    answers.write(json.dumps({**facts, "bytes": len(blob)}).encode() + b"\n")
    answers.write(blob)
    answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
