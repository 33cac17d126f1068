// Every sentence that the modules write. A catalogue can take this file's place.
export const text = {
  arrived: (name, line) => `${name} is here. ${line}`,
  closed: "That visit is over.",
  connecting: "Connecting",
  dataAge: (clock) => `As of ${clock}`,
  dossierFailed: "The history could not be opened. It is tried again.",
  live: (age) => (age < 20 ? "Live" : `Live · ${age} s ago`),
  nobodyFound: "Nobody by this name.",
  offline: (clock) => `Offline. What you see is from ${clock}; it goes on by itself when the gateway answers.`,
  offlineShort: (age) => `Offline · ${age}`,
  refused: "That did not work.",
  sending: "Sending …",
  signedOut: "Please sign in again.",
  soundOff: "Tap to enable sound",
  soundOn: "Sound on",
  waitingForGateway: "Waiting for the gateway …",
};

export function waited(seconds) {
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function urgency(seconds) {
  return seconds < 60 ? "calm" : seconds < 120 ? "warm" : "hot";
}

export function clock(milliseconds, timeZone) {
  return new Date(milliseconds).toLocaleTimeString("en-GB", { timeZone });
}

export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}
