"""What a fit asks of a machine: work, time, memory, disk."""
