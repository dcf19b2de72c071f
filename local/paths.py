"""Folders of the checkout that more than one command uses."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / ".samovar"  # everything that commands generate, except `.venv`
