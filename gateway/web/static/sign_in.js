// A link ends in #TOKEN: the part after # never reaches a server's log, so it is handed over here.
const token = decodeURIComponent(location.hash.slice(1));
if (token) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = token;
  document.getElementById("sign-in").requestSubmit();
}
