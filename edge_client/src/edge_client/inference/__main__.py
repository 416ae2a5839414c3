"""``python -m edge_client.inference``: the child process. Answers requests from stdin; see :mod:`.server`."""

import msgspec

from edge_client.training.channel import Channel
from edge_client.training.child import failure, with_failures
from edge_client.training.events import Fetching, Loading
from edge_client.training.model_files import check_files, find_model
from fedit_shared.errors import UserError

from .protocol import Chat, Evaluate, Generate, Open, RunTask


def main() -> None:
    """Load the model that the first request names, then answer until the parent closes the pipe."""
    channel = Channel()
    with_failures(channel, lambda: _serve(channel))


def _serve(channel: Channel) -> None:
    body = channel.receive()
    if body is None:
        return
    opening = msgspec.msgpack.decode(body, type=Open)
    channel.emit(Loading(part="files"))
    model = opening.model
    folder = find_model(
        model,
        opening.model_folder,
        lambda here, total: channel.emit(Fetching(model=model.id, here=here, total=total)),
    )
    check_files(folder, model)
    channel.emit(Loading(part="libraries"))
    from .server import open_server

    server = open_server(opening, folder, channel.emit)
    channel.emit(server.ready())
    while (body := channel.receive()) is not None:
        request = msgspec.msgpack.decode(body, type=Evaluate | Generate | Chat | RunTask)
        try:
            channel.emit(server.answer(request))
        except UserError as error:
            channel.emit(failure(error))


if __name__ == "__main__":
    main()
