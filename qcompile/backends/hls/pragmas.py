"""What a loop becomes is said once, in a comment behind its head, and written out as every tool reads it: `unroll` (all
iterations at once), `pipeline` (one a cycle), or `loop` (one after the other: the outer loops of a nest).

Vitis HLS reads the first line of a loop's body. Bambu reads the line before the loop; it has no pipelines, and loops
that stay loops have to say so: it unrolls small ones by itself, and then reorders the reads of one stream.
"""

from __future__ import annotations

import re
from typing import Any

from qcompile.templating import templates

_LOOP = re.compile(r"^(.*\{) // (unroll|pipeline|loop)$", re.M)


def for_tools(source: str, unrolled: bool = True) -> str:
    """The source with directives. unrolled: False leaves all loops as loops."""
    fragments: Any = templates().get_template("hls/directed.j2").module
    return _LOOP.sub(lambda found: str(fragments.directed(found[1], found[2] if unrolled else "loop")), source)
