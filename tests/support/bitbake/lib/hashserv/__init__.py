"""Stand-in for BitBake's hash equivalence service, which the wheel lacks.

Signature handlers without hash equivalence never get past importing it.
"""

import re

_UNIHASH = re.compile(r"[0-9a-f]{40,128}")


def is_valid_unihash(unihash):
    return bool(_UNIHASH.fullmatch(unihash))


def _absent(*_args, **_kwargs):
    raise NotImplementedError("this BitBake has no hash equivalence service: unset BB_HASHSERVE")


create_server = create_client = _absent
