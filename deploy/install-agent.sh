#!/usr/bin/env bash
# Installs the agent of mlx-fleet on a Mac or a Linux machine, from the coordinator that it will work for.
# `mlx-fleet machine add` prints the line that fetches this and runs it; then it is at PREFIX/install-agent.sh.
# Root runs this script and nothing that comes with a release: those are for the account of the agent.
#
#   install-agent.sh install --coordinator URL --ca FILE    reads a join token from standard input; a machine
#                                 that was thrown out, or whose certificate has ended, joins again by it
#   install-agent.sh upgrade      to the release that the coordinator offers now; back, if it does not stay up
#                                 or no coordinator welcomes it
#   install-agent.sh rollback     to the release before
#   install-agent.sh uninstall    leaves PREFIX/data, with what is not uploaded; --purge takes that too
#
# Options:
#   --prefix DIR        where everything goes (/opt/mlx-fleet)
# of install:
#   --coordinator URL   several of one database with commas
#   --ca FILE           the authority's certificate
#   --token-file FILE   the join token, instead of standard input
#   --user NAME         whose account runs the agent, and whose models it finds: by default whose it was,
#                       or whoever calls sudo; else, on Linux, mlx-fleet, which is made
#   --label KEY=VALUE   that plans can select by; may be repeated
#   --allow-upgrades    `mlx-fleet machine upgrade` may put the coordinator's release in the place of this one
#
# Tested on Debian 12; for a Mac with stand-ins of its programs, and on no Mac. Everything must work in bash 3.2,
# a Mac's own.
set -euo pipefail
# Letters are letters, whatever the language here.
export LC_ALL=C

# What every coordinator's certificate says, and no public authority may sign.
server_name=coordinator.mlx-fleet.internal
service=mlx-fleet-agent
daemon=org.mlx-fleet.agent # launchd's name for it
unit=/etc/systemd/system/$service.service
plist=/Library/LaunchDaemons/$daemon.plist
# What looks out for the agent's wish to be upgraded, where that is allowed.
lookout=${unit%.service}-upgrade
lookout_plist=${plist%.plist}-upgrade.plist
# A release that is up for so long, and welcomed by a coordinator in so long, stays.
seconds_up=5
seconds_welcome=120
# The agent has half of it for its end.
seconds_gone=60

say() { printf 'install-agent: %s\n' "$*"; }

die() {
  printf 'install-agent: error: %s\n' "$*" >&2
  exit 1
}

main() {
  local verb=${1-}
  case "$verb" in
    install | upgrade | rollback | uninstall) shift ;;
    -h | --help | '') sed -n '2,25s/^# \{0,1\}//p' "$0" && exit ;;
    *) die "unknown verb $verb; there are install, upgrade, rollback and uninstall" ;;
  esac
  # The password is asked for on the terminal, so standard input is still the token's.
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "this needs root, and there is no sudo: run it as root"
    exec sudo bash "$0" "$verb" "$@"
  fi
  options "$@"
  umask 022
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "$verb"
}

options() {
  prefix=/opt/mlx-fleet coordinators='' ca='' token_file='' user='' labels=''
  purge=no allow_upgrades=no asked=no
  while [ $# -gt 0 ]; do
    case "$1" in
      --purge) purge=yes && shift && continue ;;
      --allow-upgrades) allow_upgrades=yes && shift && continue ;;
      # What the lookout says.
      --asked) asked=yes && shift && continue ;;
    esac
    [ $# -gt 1 ] || die "$1 is unknown, or lacks its value"
    case "$1" in
      --prefix) prefix=$2 ;;
      --coordinator) coordinators=$2 ;;
      --ca) ca=$2 ;;
      --token-file) token_file=$2 ;;
      --user) user=$2 ;;
      --label) labels="$labels $2" ;;
      *) die "unknown option $1" ;;
    esac
    shift 2
  done
  # They stand in a service's definition, unquoted.
  only "$prefix" '/A-Za-z0-9._-' --prefix
  only "$user" 'A-Za-z0-9._-' --user
  only "$labels" ' A-Za-z0-9=._-' --label
  case "$prefix" in
    /?*) ;;
    *) die "--prefix is a folder's whole path, such as /opt/mlx-fleet" ;;
  esac
  data=$prefix/data
  # The agent leaves it here when the fleet asks for an upgrade, and waits until it is gone.
  wish=$data/upgrade
}

only() { # only TEXT CHARACTERS OPTION
  # shellcheck disable=SC2254 # the characters are a pattern
  case "$1" in
    *[!$2]*) die "$3 may hold letters, digits and some signs ($2), and not: $1" ;;
  esac
}

# --- the verbs

install() {
  [ -n "$coordinators" ] || die "name the coordinator: --coordinator URL (\`mlx-fleet machine add\` prints all of it)"
  [ -r "$ca" ] || die "the authority's certificate is missing: --ca FILE (\`mlx-fleet machine add\` prints all of it)"
  # First of all: what runs below must not read it.
  take_token
  find_user
  fetch_release
  enrol
  switch_to "$release"
  remember
  write_service
  start_service
  if [ "$allow_upgrades" = yes ]; then start_lookout; fi
  works || die "the agent $trouble; its log says why: $(where_log)"
  say "$(as_user "$prefix/current/bin/mlx-fleet-agent" --version </dev/null) runs as $user; its log: $(where_log)"
  show_doctor
}

upgrade() {
  local before before_that=''
  installed
  if [ "$asked" = yes ]; then
    [ -e "$wish" ] || return 0
    trap 'rm -rf "$work" "$wish"' EXIT
  fi
  user=$(owner)
  coordinators=$(cat "$prefix/coordinator")
  ca=$prefix/ca.pem
  fetch_release
  if [ "$release" = "$(current)" ]; then
    say "${release##*/} is what runs already"
    return
  fi
  before=$(current)
  if [ -L "$prefix/previous" ]; then before_that=$(cd "$prefix/previous" && pwd -P); fi
  switch_to "$release"
  start_service
  # What the new agent wishes for is another upgrade.
  if [ "$asked" = yes ]; then
    rm -rf "$wish"
    trap 'rm -rf "$work"' EXIT
  fi
  if ! works; then
    say "${release##*/} $trouble; going back" >&2
    point current "$before"
    if [ -n "$before_that" ]; then point previous "$before_that"; else rm "$prefix/previous"; fi
    start_service
    rm -rf "$release"
    stays_up || die "${release##*/} $trouble, and ${before##*/} does not stay up either; the log says why: $(where_log)"
    die "${release##*/} $trouble, and ${before##*/} runs again; the log says why: $(where_log)"
  fi
  forget_old
  say "upgraded to ${release##*/}"
}

rollback() {
  installed
  [ -L "$prefix/previous" ] || die "there is no release before $(basename "$(current)") in $prefix"
  swap
  start_service
  stays_up || die "the agent does not stay up; its log says why: $(where_log)"
  say "went back to $(basename "$(current)")"
}

uninstall() {
  stop_lookout
  stop_service
  rm -f "$unit" "$plist" "$lookout.path" "$lookout.service" "$lookout_plist"
  if [ "$(uname -s)" = Linux ]; then systemctl daemon-reload; fi
  rm -rf "$prefix/releases" "$prefix/current" "$prefix/previous" "$prefix/log" \
    "$prefix/coordinator" "$prefix/ca.pem" "$prefix/install-agent.sh"
  if [ "$purge" = yes ]; then rm -rf "$data"; fi
  if rmdir "$prefix" 2>/dev/null; then
    say "removed"
  else
    say "removed; $data stays: its key, and what was measured and not uploaded"
  fi
  say "the fleet still knows this machine: mlx-fleet machine revoke NAME"
}

installed() {
  [ -L "$prefix/current" ] || die "no agent is installed in $prefix: name another folder with --prefix"
}

# Whom to ask for upgrades, and by what. Nothing that the agent itself keeps: root would believe its account.
remember() {
  printf '%s\n' "$coordinators" >"$prefix/coordinator"
  [ "$ca" -ef "$prefix/ca.pem" ] || cp "$ca" "$prefix/ca.pem"
  [ "$0" -ef "$prefix/install-agent.sh" ] || cp "$0" "$prefix/install-agent.sh"
}

# --- a release: fetched, verified, tried

fetch_release() {
  local address sums='' label offered archive='' digest
  # Of several coordinators the first that answers.
  for address in $(printf '%s' "$coordinators" | tr , ' '); do
    address=${address#https://}
    if get "$address" releases/SHA256SUMS "$work/SHA256SUMS"; then
      sums=$work/SHA256SUMS
      break
    fi
  done
  [ -n "$sums" ] || die "no release archives can be had from $coordinators"
  offered=$(platforms)
  [ -n "$offered" ] || die "MLX needs macOS 14.0 or newer, and this is $(sw_vers -productVersion)"
  for label in $offered; do
    archive=$(sed -n "s/^[0-9a-f]\{64\}  \(mlx-fleet-[A-Za-z0-9._-]*-$label\.tar\.gz\)\$/\1/p" "$sums")
    if [ -n "$archive" ]; then break; fi
  done
  [ -n "$archive" ] || die "the coordinator has no archive for this machine ($(printf '%s' "$offered" | tr '\n' ' ')): see docs/install.md, \"Release archives\""
  [ "$(printf '%s\n' "$archive" | wc -l)" -eq 1 ] ||
    die "the coordinator has several releases for $label, and should have one: $(printf '%s' "$archive" | tr '\n' ' ')"

  digest=$(sed -n "s/^\([0-9a-f]\{64\}\)  $archive\$/\1/p" "$sums")
  # Its digest is in its name: two builds of one version are two releases.
  release=$prefix/releases/${archive%.tar.gz}-$(printf '%s' "$digest" | cut -c1-12)
  if [ -x "$release/bin/mlx-fleet-agent" ]; then return; fi
  say "fetching $archive"
  get "$address" "releases/$archive" "$work/$archive" || die "$archive cannot be fetched from $address"
  [ "$(sha256 "$work/$archive")" = "$digest" ] ||
    die "$archive does not have the checksum that the coordinator gives for it; nothing was installed"
  # Beside its place first, so that the last step is a rename.
  rm -rf "$release.new"
  mkdir -p "$release.new"
  tar -xzf "$work/$archive" -C "$release.new" --strip-components 1
  if ! as_user "$release.new/bin/mlx-fleet-agent" --version </dev/null >/dev/null; then
    rm -rf "$release.new"
    die "the agent in $archive does not run on this machine; nothing was installed"
  fi
  mv "$release.new" "$release"
}

# The certificate is good for this name alone, whatever the address is called; and the authorities in a Mac's
# keychain, which Apple's curl believes too, sign no such name.
get() { # get ADDRESS PATH FILE
  curl -fsS --noproxy '*' --proto '=https' --retry 8 --cacert "$ca" --connect-to "::$1" \
    -o "$3" "https://$server_name:${1##*:}/$2" </dev/null
}

# What runs here, the best first.
platforms() {
  case "$(uname -s)-$(uname -m)" in
    Darwin-arm64)
      if macos_is 26 2; then echo macos26-arm64; fi
      if macos_is 15 0; then echo macos15-arm64; fi
      if macos_is 14 0; then echo macos14-arm64; fi
      ;;
    Linux-*) echo "linux-$(uname -m)" ;;
    *) die "no agent is made for $(uname -s) on $(uname -m)" ;;
  esac
}

macos_is() { # macos_is MAJOR MINOR: or later?
  local version major minor
  version=$(sw_vers -productVersion)
  major=$(printf '%s' "$version" | cut -d. -f1)
  minor=$(printf '%s' "$version." | cut -d. -f2)
  [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "${minor:-0}" -ge "$2" ]; }
}

sha256() {
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# --- which release is in use

current() { (cd "$prefix/current" && pwd -P); }

switch_to() { # switch_to RELEASE
  local before
  if [ -L "$prefix/current" ]; then
    before=$(current)
    [ "$before" != "$1" ] || return 0
    point previous "$before"
  fi
  point current "$1"
}

swap() {
  local before
  before=$(current)
  point current "$(cd "$prefix/previous" && pwd -P)"
  point previous "$before"
}

point() { # point NAME RELEASE
  ln -sfn "releases/${2##*/}" "$prefix/$1"
}

forget_old() {
  local folder
  for folder in "$prefix"/releases/*; do
    if [ "$folder" != "$(current)" ] && [ "$folder" != "$(cd "$prefix/previous" && pwd -P)" ]; then
      rm -rf "$folder"
    fi
  done
}

# --- joining

# Never an argument of a program: those everybody can read.
take_token() {
  token=''
  if [ -n "$token_file" ]; then
    token=$(cat "$token_file") || die "the join token in $token_file cannot be read"
  elif [ -e "$data/agent.pem" ]; then
    # It needs none, and uses one that is there.
    [ -t 0 ] || IFS= read -r -t 5 token || true
  else
    if [ -t 0 ]; then printf 'join token: ' >&2; fi
    IFS= read -r token || [ -n "$token" ] || die "no join token came on standard input"
  fi
}

find_user() {
  if [ -e "$data/agent.pem" ]; then
    [ "${user:-$(owner)}" = "$(owner)" ] || die "$data belongs to $(owner): chown -R $user $data first"
    user=$(owner)
  fi
  if [ -z "$user" ] && [ "${SUDO_USER-root}" != root ]; then user=$SUDO_USER; fi
  if [ -z "$user" ]; then
    [ "$(uname -s)" = Linux ] || die "whose account shall run the agent? name it with --user"
    user=mlx-fleet
    if ! id "$user" >/dev/null 2>&1; then
      useradd --system --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$user" ||
        die "the account $user cannot be made; name another with --user"
    fi
  fi
  id "$user" >/dev/null 2>&1 || die "there is no account $user on this machine"
}

# Whose the installed agent is.
owner() {
  # shellcheck disable=SC2012 # the way to ask that Linux and macOS share
  ls -ld "$data" | awk '{ print $3 }'
}

as_user() { # as_user PROGRAM ARGUMENT…
  case "$user-$(uname -s)" in
    root-*) "$@" ;;
    *-Darwin) sudo -u "$user" -- "$@" ;;
    *) runuser -u "$user" -- "$@" ;;
  esac
}

enrol() {
  mkdir -p "$data" "$prefix/log"
  chmod 700 "$data"
  chown "$user" "$data" "$prefix/log"
  if [ -e "$data/agent.pem" ]; then
    if [ -z "$token" ]; then
      say "this machine has joined before: its key and certificate are kept"
      return
    fi
    # While it runs, its folder is its own.
    stop_service
  fi
  if ! printf '%s\n' "$token" |
    as_user "$release/bin/mlx-fleet-agent" enrol --coordinator "$coordinators" --token-file - \
      --data-dir "$data" --log warn; then
    [ -e "$data/agent.pem" ] || die "this machine could not join; the line above says why"
    # A line that is pasted twice is no harm.
    say "this machine did not join again, as the line above says: the certificate that it has is kept" >&2
  fi
}

# --- the service

write_service() {
  # Allowed once is not allowed for ever.
  stop_lookout
  rm -f "$lookout.path" "$lookout.service" "$lookout_plist"
  case "$(uname -s)" in
    Darwin)
      launchd_plist >"$plist"
      if [ "$allow_upgrades" = yes ]; then launchd_lookout >"$lookout_plist"; fi
      ;;
    *)
      mkdir -p "${unit%/*}"
      systemd_unit >"$unit"
      if [ "$allow_upgrades" = yes ]; then
        systemd_lookout >"$lookout.service"
        printf '[Path]\nPathExists=%s\n\n[Install]\nWantedBy=multi-user.target\n' "$wish" >"$lookout.path"
      fi
      ;;
  esac
}

arguments() { # one a line
  local label
  printf '%s\n' "$prefix/current/bin/mlx-fleet-agent" run --data-dir "$data"
  if [ "$allow_upgrades" = yes ]; then printf '%s\n' --upgrade-wish "$wish"; fi
  # Words on purpose.
  for label in $labels; do printf '%s\n' --label "$label"; done
}

# No sandbox that changes what is measured, and no /tmp of its own: agents of one machine meet there.
systemd_unit() {
  cat <<UNIT
# Written by install-agent.sh; a new install writes it again.
[Unit]
Description=mlx-fleet agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=$(arguments | tr '\n' ' ')
User=$user
Restart=always
RestartSec=5
# A worker that is killed for memory is one failed launch, and no reason to stop the agent.
OOMPolicy=continue
TimeoutStopSec=30
NoNewPrivileges=yes
ProtectSystem=full

[Install]
WantedBy=multi-user.target
UNIT
}

systemd_lookout() {
  cat <<UNIT
# Written by install-agent.sh; a new install writes it again.
[Unit]
Description=upgrade of the mlx-fleet agent, as the fleet asked for it

[Service]
Type=oneshot
ExecStart=/usr/bin/env bash $prefix/install-agent.sh upgrade --asked --prefix $prefix
UNIT
}

launchd_lookout() {
  cat <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>$daemon-upgrade</string>
  <key>ProgramArguments</key>
  <array>
    <string>/bin/bash</string>
    <string>$prefix/install-agent.sh</string>
    <string>upgrade</string>
    <string>--asked</string>
    <string>--prefix</string>
    <string>$prefix</string>
  </array>
  <key>WatchPaths</key>
  <array>
    <string>$wish</string>
  </array>
</dict>
</plist>
PLIST
}

# A daemon, not an agent of a login: those may not reach the local network unasked (macOS 15). Interactive:
# anything less is throttled, and would measure the throttle.
launchd_plist() {
  cat <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>$daemon</string>
  <key>ProgramArguments</key>
  <array>
$(arguments | sed 's/.*/    <string>&<\/string>/')
  </array>
  <key>UserName</key>
  <string>$user</string>
  <key>ProcessType</key>
  <string>Interactive</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>ExitTimeOut</key>
  <integer>30</integer>
  <key>StandardOutPath</key>
  <string>$prefix/log/agent.log</string>
  <key>StandardErrorPath</key>
  <string>$prefix/log/agent.log</string>
</dict>
</plist>
PLIST
}

start_service() {
  # A process of another time may have had the number of the next one.
  rm -f "$data/welcomed"
  case "$(uname -s)" in
    Darwin)
      stop_service
      launchctl enable "system/$daemon"
      launchctl bootstrap system "$plist"
      ;;
    *)
      systemctl daemon-reload
      systemctl enable --quiet "$service"
      systemctl restart "$service"
      ;;
  esac
}

start_lookout() {
  case "$(uname -s)" in
    Darwin) launchctl bootstrap system "$lookout_plist" ;;
    *) systemctl enable --now --quiet "${lookout##*/}.path" ;;
  esac
}

stop_lookout() {
  case "$(uname -s)" in
    Darwin) launchctl bootout "system/$daemon-upgrade" 2>/dev/null || true ;;
    *) if [ -e "$lookout.path" ]; then systemctl disable --now --quiet "${lookout##*/}.path"; fi ;;
  esac
}

stop_service() {
  local second
  case "$(uname -s)" in
    Darwin)
      launchctl bootout "system/$daemon" 2>/dev/null || true
      # It comes back before the daemon is gone, and nothing starts meanwhile.
      for ((second = 0; second < seconds_gone; second++)); do
        launchctl print "system/$daemon" >/dev/null 2>&1 || return 0
        sleep 1
      done
      die "the agent does not stop: \`sudo launchctl bootout system/$daemon\` may say why"
      ;;
    *) if [ -e "$unit" ]; then systemctl disable --now --quiet "$service"; fi ;;
  esac
}

pid() {
  case "$(uname -s)" in
    Darwin) launchctl print "system/$daemon" 2>/dev/null | sed -n 's/^[[:space:]]*pid = \([0-9]*\)$/\1/p' ;;
    *) systemctl show --property MainPID --value "$service" | sed 's/^0$//' ;;
  esac
}

# Whether one process lives that long: who is started again and again is not up.
stays_up() {
  local first second
  sleep 1
  first=$(pid)
  for ((second = 0; second < seconds_up; second++)); do
    if [ -z "$first" ] || [ "$(pid)" != "$first" ]; then return 1; fi
    sleep 1
  done
}

# Whether it does its work, or what is the trouble: one that is up may still be unable to reach its coordinator.
# The agent says in a file which of its processes was welcomed last.
works() {
  local first second
  trouble="does not stay up"
  stays_up || return 1
  first=$(pid)
  for ((second = 0; second < seconds_welcome; second++)); do
    if [ -z "$first" ] || [ "$(pid)" != "$first" ]; then return 1; fi
    if [ -f "$data/welcomed" ] && [ "$(cat "$data/welcomed")" = "$first" ]; then return 0; fi
    sleep 1
  done
  trouble="is not welcomed by its coordinator"
  return 1
}

where_log() {
  case "$(uname -s)" in
    Darwin) echo "$prefix/log/agent.log" ;;
    *) echo "journalctl -u $service" ;;
  esac
}

# Its advice is no reason to fail: the agent is up.
show_doctor() {
  local agent=$prefix/current/bin/mlx-fleet-agent
  if as_user "$agent" doctor --help </dev/null >/dev/null 2>&1; then
    as_user "$agent" doctor --data-dir "$data" </dev/null || true
  fi
}

main "$@"
