"""Faults from outside: kills, interrupts, full disks, hostile files, threads, long runs."""
