"""What training minimizes: distances, the adversary, and how they are weighed."""
