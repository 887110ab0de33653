"""A trunk asks for a password: its branch is sent again, with credentials (RFC 3261 22, RFC 7616).

Only what goes to that trunk has them. They are sent once, and once more if the trunk says that their nonce was too old.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from callinteractive.digest import Credentials, answer, choose
from kemi import ksr
from kemi.transaction import BranchPlan, transaction

UNAUTHORIZED, PROXY = 401, 407
ASKED_IN = {UNAUTHORIZED: "WWW-Authenticate", PROXY: "Proxy-Authenticate"}
_ANSWERED_IN = {UNAUTHORIZED: "Authorization", PROXY: "Proxy-Authorization"}
_MOST_PROOFS = 2


class Challenges:
    """Answers the challenges of the trunks that have `credentials`, by their names."""

    def __init__(self, credentials: Mapping[str, Credentials]) -> None:
        self._credentials = credentials

    @staticmethod
    def note(index: int, status: int) -> None:
        """Reply route of a branch: keep what a 401 or 407 asks, each in one line (RFC 3261 7.3.1)."""
        values = [value.replace("\r", " ").replace("\n", " ") for value in ksr.headers(ASKED_IN[status])]
        transaction.challenges[index] = "\n".join(values)

    def answer(self, index: int, status: int, plan: BranchPlan, uri: str) -> BranchPlan | None:
        """The plan for sending the branch again; None where that is of no use. `uri` is what its peer was sent."""
        credentials = self._credentials.get(plan.trunk)
        advice = f"trunk {plan.trunk} asks for a password"
        if credentials is None:
            ksr.log_warning(f"{advice}, {status}: set username and password of trunks, name {plan.trunk}")
            return None
        asked = transaction.challenges[index].split("\n")
        challenge = choose(asked, credentials.realm)
        if challenge is None:
            wanted = f"realm {credentials.realm!r}" if credentials.realm else "digest with MD5 or SHA-256"
            ksr.log_warning(f"{advice} by what we don't answer, {status} {asked[0][:200]!r}: we answer {wanted} only")
            return None
        if plan.proofs and not (challenge.is_stale and plan.proofs < _MOST_PROOFS):
            ksr.log_warning(
                f"trunk {plan.trunk} refuses the password of user {credentials.username!r}, {status}:"
                f" correct username or password of trunks, name {plan.trunk}"
            )
            return None
        value = answer(challenge, credentials, "INVITE", uri, secrets.token_hex(8))
        kept = without_credentials(plan.lines, status)  # those of an earlier answer to the same party
        lines = f"{kept}{_ANSWERED_IN[status]}: {value}\r\n"
        return plan._replace(lines=lines, proofs=plan.proofs + 1, shift=plan.shift + 1)


def without_credentials(lines: str, *statuses: int) -> str:
    """The header lines without our answers to challenges of these statuses."""
    ours = tuple(f"{_ANSWERED_IN[status]}:" for status in statuses)
    return "".join(f"{line}\r\n" for line in lines.split("\r\n") if line and not line.startswith(ours))
