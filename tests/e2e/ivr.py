"""The IVRs that the end-to-end tests call. The web application decides what happens, by the caller's number."""

SCRIPTED_GET = "000*100"
SCRIPTED_POST = "000*101"
MENU = "000*102"
DOWN = "000*103"
RECORDER = "000*105"
SHORT_LIVED = "000*106"
LOOP = "000*107"
SILENT = "000*108"
GUARDED = "000*109"
TRANSFER = "000*110"
DID = "+15550199"

NEXT_RULE_HZ = 660
"""Heard when an option's next rule runs after a request."""
OTHER_OPTION_HZ = 880
"""Heard in option "0" of the scripted IVR."""
MENU_HZ = 440
MENU_TIMEOUT_S = 1.5
INTER_DIGIT_TIMEOUT_S = 2.0
LIFETIME_S = 3
REQUEST_TIMEOUT_S = 1

IVR = """\
ivrs:
  - {{number: "000*100", id: 200, entry_context: get, dids: ["+15550199"], request_timeout_s: 1, web: {{breaker: no}}}}
  - {{number: "000*101", id: 201, entry_context: post, request_timeout_s: 1, web: {{breaker: no}}}}
  - {{number: "000*102", id: 202, entry_context: menu}}
  - {{number: "000*103", id: 203, entry_context: down}}
  - {{number: "000*105", id: 205, entry_context: recorder}}
  - {{number: "000*106", id: 206, entry_context: get, lifetime: 3}}
  - {{number: "000*107", id: 207, entry_context: loop}}
  - {{number: "000*108", id: 208, entry_context: silent}}
  - number: "000*109"
    id: 209
    entry_context: guarded
    web:
      secrets: [whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=]
      headers: {{X-Api-Key: known-to-both-only}}
      retries: 1
      fallback_url: "{web}/backup?of=$lang"
      wait_sound: tone-440-3000.wav
  - {{number: "000*110", id: 210, entry_context: transfer}}

contexts:
  get:
    timeout: 1500
    inter_digit_timeout: 2000
    options:
      start:
        - call_interactive: {{url: "{web}/get?own=a%20b", method: GET}}
        - play_sound: {{file: tone-660-400.wav}}
        - call_interactive: {{url: "{web}/again?lang=$lang&digits=$digits&unset=$unset", method: GET}}
        - hangup
      "0":
        - play_sound: {{file: tone-880-400.wav}}
        - hangup
      "5":
        - call_interactive: {{url: "{web}/five", method: POST}}
        - hangup
  post:
    options:
      start:
        - call_interactive: {{url: "{web}/post?own=a%20b&lang=$lang", method: POST}}
        - play_sound: {{file: tone-660-400.wav}}
        - hangup
  menu:
    timeout: 1500
    inter_digit_timeout: 2000
    options:
      start: [{{play_sound: {{file: tone-440-3000.wav, where: background}}}}]
      "1": [{{call_interactive: {{url: "{web}/option?is=1", method: POST}}}}, hangup]
      "*": [{{call_interactive: {{url: "{web}/option?is=star", method: POST}}}}, hangup]
      "20": [{{call_interactive: {{url: "{web}/option?is=20", method: POST}}}}, hangup]
      "201": [{{call_interactive: {{url: "{web}/option?is=201", method: POST}}}}, hangup]
      invalid: [{{call_interactive: {{url: "{web}/option?is=invalid", method: POST}}}}, hangup]
      timeout: [{{call_interactive: {{url: "{web}/option?is=timeout", method: POST}}}}, hangup]
  down:
    options:
      start:
        - call_interactive: {{url: "{closed}/nobody", method: POST}}
        - play_sound: {{file: tone-660-400.wav}}
        - hangup
  recorder:
    timeout: 1500
    inter_digit_timeout: 2000
    options:
      start:
        - record_digits: {{prompt: tone-440-3000.wav, variable: code, max: 4}}
        - call_interactive: {{url: "{web}/recorded?code=$code", method: GET}}
        - hangup
  guarded:
    options:
      start:
        - call_interactive: {{url: "{web}/guarded?lang=$lang", method: POST}}
        - play_sound: {{file: tone-660-400.wav}}
        - hangup
  loop:
    options:
      start: [{{jump: {{context: loop}}}}]
  silent:
    timeout: 200
    max_silent_rounds: 2
    options:
      start: [{{play_sound: {{file: tone-660-400.wav, where: background}}}}]
      timeout: [{{play_sound: {{file: tone-880-400.wav, where: background}}}}]
  transfer:
    timeout: 1500
    inter_digit_timeout: 2000
    options:
      start:
        - call_interactive: {{url: "{web}/plan", method: POST}}
        - call_interactive: {{url: "{web}/after?status=$TRANSFER_STATUS&code=$TRANSFER_CODE", method: GET}}
        - call_interactive: {{url: "{web}/again?status=$TRANSFER_STATUS&digits=$digits", method: GET}}
        - hangup
"""
