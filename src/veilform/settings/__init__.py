"""Settings of the parties: one TOML file, the environment, flags; see `docs/deployment.md`.

settings = load(ServeSettings, Path("serve.toml"), os.environ, {"listen": "0.0.0.0:7001"})
"""

from __future__ import annotations

from veilform.settings.kinds import (
    DealSettings,
    GatewaySettings,
    LevelSettings,
    ModelSettings,
    PublicModelSettings,
    ServeSettings,
)
from veilform.settings.loading import load

__all__ = [
    "DealSettings",
    "GatewaySettings",
    "LevelSettings",
    "ModelSettings",
    "PublicModelSettings",
    "ServeSettings",
    "load",
]
