"""Published families: their key layouts, translated to ours and back.

Each family is one module of this folder. It says which configurations it claims (`CLAIMS`), describes
their model (`blueprint`), and holds the key tables (`rules`, `to_hub`).
"""

from vidapt.hub._open import families, family_of, is_published, open_checkpoint
from vidapt.hub._report import LoadReport

__all__ = ["LoadReport", "families", "family_of", "is_published", "open_checkpoint"]
