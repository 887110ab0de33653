<?php
// Check that a request comes from your IVR: Standard Webhooks signatures. Copy this file into your application.
//
//   verify(['whsec_…'], array_change_key_case(getallheaders()), $payload)
//
// $payload: of a POST file_get_contents('php://input'); of a GET $_SERVER['REQUEST_URI'].

const TOLERANCE_S = 300;

// Whether one of the secrets has signed it, less than five minutes ago. $headers knows names in lower case.
function verify(array $secrets, array $headers, string $payload, ?int $now = null): bool
{
    $sentAt = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^\d{1,12}$/D', $sentAt) || abs(($now ?? time()) - (int) $sentAt) > TOLERANCE_S) {
        return false;
    }
    $content = ($headers['webhook-id'] ?? '') . ".$sentAt.$payload";
    foreach ($secrets as $secret) {
        $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
        if (strlen($key) < 24) { // an empty secret, of a variable that is not set: everybody could sign with it
            continue;
        }
        $expected = 'v1,' . base64_encode(hash_hmac('sha256', $content, $key, true));
        foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
            if (hash_equals($expected, $given)) {
                return true;
            }
        }
    }
    return false;
}
