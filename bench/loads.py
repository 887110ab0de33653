"""The calls that the benchmarks place. Services and answers are those of ivr.yaml and webapp.py."""

from __future__ import annotations

from bench.measure import Load

BASELINE = Load("baseline", "proxy baseline", "baseline", callee="callee", is_baseline=True)
DIP = Load("dip", "answer, HTTP dip, hang up", "000*900")
PROMPT = Load("prompt", "the same with a 2 s prompt", "000*901", lasts_s=2.1)
MENU = Load("menu", "menu with 3 digits", "000*902", "dialler", lasts_s=1.2, has_media=True, has_digits=True)
TRANSFER = Load(
    "transfer", "transfer, bridged, 1 s of talk", "000*903", "talker", "talking-callee", lasts_s=1.3, has_media=True
)
ROUTING = Load("routing", "routing dip and transfer, unanswered", "000*904", callee="callee")
SLOW = Load("slow", "web application takes 1 s", "000*906", lasts_s=1.1)
HALF_MINUTE = Load("ivr", "IVR call of 30 s with prompts", "000*908", lasts_s=30.5)
