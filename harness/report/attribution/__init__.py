"""Grad-CAM and how far it can be believed: maps, agreement of seeds, a sanity check, faithfulness."""
