"""The command line: `main` holds the commands of the main job, `terminal` what all of them share."""
