"""Commands on models, below `imagefleet models`; loaded one by one, when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Command -> module:attribute.
COMMANDS: Final[Mapping[str, str]] = {
    "add": "models.commands.add:add",
    "check": "models.commands.check:check",
    "export": "models.commands.export:export",
    "pull": "models.commands.pull:pull",
    "quantize": "models.commands.quantize:quantize",
}
