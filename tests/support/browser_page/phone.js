// A phone in a web page. tests/support/browser.py calls these functions, and reads `phone.events`.
'use strict';

const phone = {events: [], session: null};
const note = (what, detail = '') => phone.events.push({what, detail: String(detail)});

phone.take = (what) => {
    const at = phone.events.findIndex((event) => event.what === what);
    return at < 0 ? null : phone.events.splice(at, 1)[0];
};

const LOUD_DB = -60;  // a tone of the tests has about -20
const PEER = {iceServers: []};

phone.begin = async (url, uri, password, speaksHz) => {
    await navigator.mediaDevices.getUserMedia({audio: true});  // as a person allows it: then candidates have addresses
    const context = phone.context = new AudioContext();
    const tone = new OscillatorNode(context, {frequency: speaksHz});
    const spoken = phone.spoken = context.createMediaStreamDestination();
    tone.connect(spoken);
    tone.start();
    phone.agent = new JsSIP.UA({sockets: [new JsSIP.WebSocketInterface(url)], uri, password, session_timers: false});
    phone.agent.on('connected', () => note('connected'));
    phone.agent.on('disconnected', () => note('disconnected'));
    phone.agent.on('registered', () => note('registered'));
    phone.agent.on('registrationFailed', ({response, cause}) => note('refused', response ? response.status_code : cause));
    phone.agent.on('newRTCSession', ({session, originator}) => {
        phone.session = session;
        note(originator === 'remote' ? 'rings' : 'dials', session.remote_identity.uri.user);
        for (const event of ['progress', 'accepted', 'confirmed'])
            session.on(event, () => note(event));
        session.on('ended', ({originator}) => note('ended', originator));
        session.on('failed', ({cause, message}) => note('failed', message && message.status_code || cause));
        if (session.connection) phone.listen(session.connection);
        else session.on('peerconnection', ({peerconnection}) => phone.listen(peerconnection));
    });
    phone.agent.start();
};

phone.listen = (connection) => connection.addEventListener('track', ({track}) => {
    const stream = new MediaStream([track]);
    document.getElementById('heard').srcObject = stream;  // Chromium decodes only what is also played
    const analyser = phone.analyser = new AnalyserNode(phone.context, {fftSize: 8192, smoothingTimeConstant: 0});
    phone.context.createMediaStreamSource(stream).connect(analyser);
});

phone.dial = (number) => phone.agent.call(number, {mediaStream: phone.spoken.stream, pcConfig: PEER});
phone.pickUp = () => phone.session.answer({mediaStream: phone.spoken.stream, pcConfig: PEER});
phone.hangUp = () => phone.session.terminate();
phone.refuse = () => phone.session.terminate({status_code: 486});
phone.hold = (holds) => phone.session[holds ? 'hold' : 'unhold']({}, () => note(holds ? 'hold' : 'unhold'));
phone.press = (digit) => phone.session.sendDTMF(digit, {transportType: 'RFC2833'});

// The loudest frequency of what is heard at this moment, in Hz; 0 for silence.
phone.pitch = () => {
    if (!phone.analyser) return 0;
    const levels = new Float32Array(phone.analyser.frequencyBinCount);
    phone.analyser.getFloatFrequencyData(levels);
    const loudest = levels.reduce((best, level, index) => level > levels[best] ? index : best, 0);
    return levels[loudest] < LOUD_DB ? 0 : loudest * phone.context.sampleRate / phone.analyser.fftSize;
};
