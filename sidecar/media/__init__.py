"""The sound of calls: descriptions, commands to RTPengine, digits, and the sound library."""
