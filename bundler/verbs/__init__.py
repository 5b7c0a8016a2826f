"""What fps-bundle does: one module for each verb, and for each rule that several of them share."""
