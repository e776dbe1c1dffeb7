"""A folder is the list of checks: `refusal` is `checks/refusal.py`.

Such a module holds `Part` with its `Config`, its `version`, and `judge(labels)`, which gives each label its
verdict; see `cleaning/labels.Check`. Files whose names start with `_` are helpers. A verdict depends on the
labels and not on the order of the rows, and where all that a check drops is gone, it drops nothing more in a
few rounds: the pipeline asks all checks again until none has anything to say.
"""
