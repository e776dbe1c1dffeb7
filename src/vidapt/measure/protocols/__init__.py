"""Running protocols: what models are asked for them, judges and their verdicts, and numbers of both.

What a protocol is stands in `vidapt.metrics.protocols`; those files ask nobody. Here models answer, judges
are asked within a budget, and every verdict is kept, so that the same numbers come out again without
either.
"""
