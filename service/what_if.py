"""What other thresholds would change, without changing anything."""

from collections.abc import Mapping, Sequence

from processing.frame import CATEGORY_NAMES
from service.config import Settings
from service.errors import ConfigurationError
from service.ranges import ranges_of
from service.series import Scored
from service.status import WhatIf

MOST_CASES = 50


def check_changeable(changes: Mapping[str, object]) -> None:
    """Let settings pass that may change after frames were scored.

    Raises
    ------
    ConfigurationError
    """
    for name in changes:
        if not name.startswith(("screening.", "reconstruction.")) or name.startswith("screening.ring_"):
            raise ConfigurationError(
                f"setting {name!r} cannot change while the service runs or after it; restart it with "
                f"--set {name}=..., or use xedm reprocess on the detector's files"
            )


def what_if(scored: Scored, settings: Settings, cases: Sequence[Mapping[str, object]]) -> list[WhatIf]:
    """Derive the verdicts for several sets of settings from the stored scores.

    Parameters
    ----------
    scored : Scored
        From the series, which is not touched.
    settings : Settings
        To which each case is a change.
    cases : sequence of dict
        At most `MOST_CASES`.

    Raises
    ------
    ConfigurationError
        When a setting cannot be used.
    """
    if len(cases) > MOST_CASES:
        raise ConfigurationError(f"at most {MOST_CASES} cases can be tried at once, got {len(cases)}")
    found = []
    for changes in cases:
        check_changeable(changes)
        verdicts = scored.verdicts_under(settings.changed(changes))
        flips = scored.frame[scored.verdict != verdicts]
        found.append(
            WhatIf(
                changes=dict(changes),
                counts={
                    name: count
                    for number, name in enumerate(CATEGORY_NAMES)
                    if (count := int((verdicts == number).sum()))
                },
                flips=int(flips.size),
                frames=ranges_of(flips),
            )
        )
    return found
