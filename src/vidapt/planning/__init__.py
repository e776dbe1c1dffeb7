"""What a recipe will cost, before anything is spent: tokens, operations, memory, time, disk; and advice."""
