"""The sample world of the demo: folk songs rendered to audio, two sites that offer them, a campaign."""
