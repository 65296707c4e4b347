"""What a plan is to the type checker."""

from collections.abc import Generator
from typing import Any

from bluesky.utils import Msg

Plan = Generator[Msg, Any, Any]
