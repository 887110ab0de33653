"""The transaction layer (RFC 3261 17): finds the transaction of a message, and starts new ones."""

from collections.abc import Callable, Hashable

from callinteractive.model import Address
from sidecar.sip.message.message import Request, Response
from sidecar.sip.transaction.client import ClientTransaction, InviteClient, NonInviteClient
from sidecar.sip.transaction.machine import MAGIC_COOKIE, Input, LayerState
from sidecar.sip.transaction.server import InviteServer, NonInviteServer, ServerTransaction


class TransactionLayer(LayerState):
    """All transactions of one user agent. `len` counts them."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.servers) + len(self.clients)

    def find_server(self, key: Hashable) -> ServerTransaction | None:
        """By `server_key`."""
        found = self.servers.get(key)
        return found if isinstance(found, ServerTransaction) else None

    def find_client(self, response: Response) -> ClientTransaction | None:
        """17.1.3: by the branch that we put into the top Via, and the method."""
        found = self.clients.get((response.via.branch, response.cseq[1]))
        return found if isinstance(found, ClientTransaction) else None

    def accept_invite(self, key: Hashable, request: Request) -> InviteServer:
        """A server transaction for an INVITE that belongs to none yet."""
        return InviteServer(self, key, request)

    def accept(self, key: Hashable, request: Request) -> NonInviteServer:
        """A server transaction for any other request that belongs to none yet."""
        return NonInviteServer(self, key, request)

    def send_invite(
        self,
        request: Request,
        destination: Address,
        on_response: Callable[[Response], None],
        on_end: Callable[[], None] | None = None,
        *,
        gives_way: bool = False,
    ) -> InviteClient:
        transaction = InviteClient(self, request, destination, on_response, on_end)
        transaction.gives_way = gives_way
        if gives_way:
            self.giving_way[transaction] = None
        transaction.start()
        return transaction

    def send_request(self, request: Request, destination: Address, on_response: Callable[[Response], None]) -> None:
        """Send a request other than INVITE and ACK."""
        NonInviteClient(self, request, destination, on_response).start()

    def forget(self, call_id: str) -> None:
        """Abandon what waits for a final response of this Call-ID, or has to give one."""
        for transaction in list(self.unanswered.get(call_id, ())):
            if transaction.request is not None:  # the end of one may have settled another
                transaction.abandon()

    def unreachable(self, destination: Address) -> None:
        """Nobody listens there (ICMP): an INVITE that gives way and has no response yet fails (18.4)."""
        for transaction in [found for found in self.giving_way if found.destination == destination]:
            transaction.step(Input.TRANSPORT_ERROR)


def server_key(request: Request, method: str) -> Hashable:
    """17.2.3: what identifies a request's server transaction. An ACK or CANCEL finds its INVITE with method "INVITE".

    A branch without the magic cookie is not unique, so the fields that RFC 2543 compares are added. They are also added
    to the bare cookie (RFC 4475 3.2.1).
    """
    via = request.via
    branch = via.branch
    if branch.startswith(MAGIC_COOKIE) and branch != MAGIC_COOKIE:
        return (branch, via.host, via.port, method)
    return (branch, via.host, via.port, method, request.call_id, request.from_.tag, request.cseq[0])
