<?php
// Pizza Line's web application. The IVR asks it what a call does next (`call_interactive` in ivr.yaml).

const ORDERS = ['1234' => 'order-in-the-oven.wav', '5678' => 'order-on-its-way.wav'];

if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) !== '/order') {
    http_response_code(404);
    exit("There is only /order.\n");
}
$number = $_GET['number'] ?? '';       // from the URL in ivr.yaml: number=$order
$caller = $_POST['CallerIDNum'] ?? ''; // who calls whom is in the form
error_log("$caller asks for order " . ($number === '' ? '(nothing dialled)' : $number));

$sound = ORDERS[$number] ?? null;
$actions = $sound === null
    ? '<PlaySound>order-unknown.wav</PlaySound><Jump context="1"/>' // tell the caller, then go back to the main menu
    : '<PlaySound>' . htmlspecialchars($sound, ENT_XML1) . '</PlaySound><PlaySound>goodbye.wav</PlaySound><Hangup/>';

header('Content-Type: application/xml');
echo "<Response>$actions</Response>";
