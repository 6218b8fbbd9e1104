"""Whether a Messages request may run: everything the wire checks in `params`.

A fault of a batch's request becomes its `errored` result; on the real-time endpoints it is the
answer. Texts are those of protocol notes §2.4, §3.9, §4.2, §4.3 and §10, and where those are
silent what users of the real service report; what nobody knows to be refused passes.
"""

from overnight.wire.params.check import check_params
from overnight.wire.params.rules import Checked, Refusal, Rules

__all__ = ["Checked", "Refusal", "Rules", "check_params"]
