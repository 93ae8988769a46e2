"""What people write or take instead of imagefleet, each in the way of its own documentation.

Each is a program: `python -m benchmarks.peers.NAME < JOB` where JOB is a JSON object (`Job`). It does what can be done
before the first picture, then all pictures, and prints the seconds of the second part.
"""
