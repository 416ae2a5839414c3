"""The demo's server: `fedit-server`, as an operator would run it, on loopback over TLS."""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agg_server.toml_file import with_values
from benchmarks.ports import free_port
from fedit_shared.errors import FeditError

from .settings import NAMES, Settings

FEDIT_SERVER = (sys.executable, "-m", "agg_server")


class Server:
    """One ``fedit-server serve`` process, and the commands beside it."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.server
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def init(self, model: str) -> None:
        """Write the federation's folder; settings that `init` has no option for go into its TOML file."""
        settings = self._settings
        address = f"127.0.0.1:{free_port()}"
        options = {
            "--adapter": settings.adapter,
            "--model": model,
            "--name": "demo",
            "--address": f"https://{address}",
            "--listen": address,
            "--cohort-min": 3,
            "--cohort-target": len(NAMES),
            "--rounds": settings.rounds,
        }
        await self._command("init", *(str(part) for option in options.items() for part in option))
        set_values(
            self.folder / "federation.toml",
            {
                "learning_rate": settings.learning_rate,
                "batch_size": settings.batch_size,
                "steps": settings.records_per_round // settings.batch_size,
                "max_length": settings.max_length,
            },
            section="training",
        )
        windows = {
            "contribute_window": f"{settings.contribute_window}s",
            "answer_grace": f"{settings.answer_grace}s",
        }
        set_values(self.folder / "federation.toml", windows, section="round")

    async def start(self) -> None:
        """Serve until :meth:`stop`; returns when it answers."""
        with (self.folder.parent / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *FEDIT_SERVER, "serve", str(self.folder), stdout=log, stderr=log
            )
        host, port = re.search(r'listen = "(.+):(\d+)"', self._toml()).groups()  # type: ignore[union-attr]
        for _ in range(600):
            if self._process.returncode is not None:
                raise FeditError(
                    f"fedit-server stopped with status {self._process.returncode}.", advice="See server.log."
                )
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
        raise FeditError("fedit-server did not open its port within a minute.", advice="See server.log.")

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def invite(self, count: int) -> list[str]:
        """``count`` join links."""
        return (await self._command("invite", "--count", str(count))).split()

    async def rounds(self) -> list[dict[str, Any]]:
        """The rounds so far, as `fedit-server rounds --json` tells them."""
        result: list[dict[str, Any]] = json.loads(await self._command("rounds", "--json"))
        return result

    async def export(self, out: Path, version: int) -> Path:
        """An adapter version as a PEFT folder."""
        await self._command("export", str(out), "--version", str(version))
        return out

    def _toml(self) -> str:
        return (self.folder / "federation.toml").read_text(encoding="utf-8")

    async def _command(self, verb: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *FEDIT_SERVER,
            verb,
            str(self.folder),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        if process.returncode:
            raise FeditError(f"fedit-server {verb} failed: {error.decode(errors='replace').strip()}")
        return out.decode()


def set_values(file: Path, values: Mapping[str, object], *, section: str) -> None:
    """Set ``key = value`` lines in one section of a commented TOML file; a key that is commented out is uncommented."""
    text = file.read_text(encoding="utf-8")
    file.write_text(with_values(text, values, section=section), encoding="utf-8")
