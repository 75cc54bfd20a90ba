#!/bin/sh
# The Cluster Linking tutorial as calls of the REST API (curl) and of Kafka (kcat), over two clusters that are reached
# by SASL_SSL, with `kmirror serve` in front of both and `kmirror run` as the worker (../cluster-linking-rest.toml says how).
#
#     export SOURCE_BOOTSTRAP=source.example:9094 DESTINATION_BOOTSTRAP=destination.example:9094
#     export SOURCE_PASSWORD=... DESTINATION_PASSWORD=... CA=ca.pem
#     topologies/cluster-linking-rest/tutorial.sh                    # the destination opens the connection
#     topologies/cluster-linking-rest/tutorial.sh --from-source      # the source does
#
# KAFKA_USER is the user at both (default: kmirror). SOURCE_REST and DESTINATION_REST are where the API of each cluster is
# (default: http://127.0.0.1:8091 and http://127.0.0.1:8090); REST_USER and REST_PASSWORD are who asks it, where it lets
# only users in, and REST_CA is whom to trust for https (default: $CA). Where KMIRROR names the program and TOPOLOGY the
# file, the replicas of the mirror topic are shown, too. Needs curl, jq and kcat. At its end it deletes whatever it made; where it
# stops before, the link demo-link and the topic demo-link-topic stay.
set -eu

LINK=demo-link
TOPIC=demo-link-topic

die() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

from_source=false
case ${1-} in
'') ;;
--from-source) from_source=true ;;
*) die "'$1' is not known; --from-source is all there is" ;;
esac
for program in curl jq kcat; do
    command -v "$program" >/dev/null || die "$program is needed, and not installed"
done
for variable in SOURCE_BOOTSTRAP DESTINATION_BOOTSTRAP SOURCE_PASSWORD DESTINATION_PASSWORD CA; do
    eval "[ -n \"\${$variable-}\" ]" || die "\$$variable is not set; the head of this script says what it is"
done
[ -r "$CA" ] || die "$CA cannot be read; \$CA names a file of PEM certificates: those of the brokers' authority"
export SOURCE_BOOTSTRAP DESTINATION_BOOTSTRAP SOURCE_PASSWORD DESTINATION_PASSWORD
export KAFKA_USER="${KAFKA_USER-kmirror}"

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# --- What everything below is made of ---------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*"; }

# call STATUS METHOD URL: asks, shows what came back ($shown is what of it, for jq), and stops unless the status is the
# wanted one. The body of a POST is what stands on stdin. The answer is left in $work/answer.
shown=.
call() {
    wanted=$1 method=$2 url=$3
    printf '\n%s %s\n' "$method" "$url"
    : >"$work/answer"
    if [ "$method" = POST ]; then
        set -- -H 'Content-Type: application/json' --data-binary @-
    else
        set --
    fi
    status=$(curl -sS -K "$work/curl" -X "$method" "$@" -o "$work/answer" -w '%{http_code}' "$url") ||
        die "nothing answers at $url; is kmirror serve running?"
    printf '%s\n' "$status"
    if [ -s "$work/answer" ]; then jq "$shown" "$work/answer"; fi
    [ "$status" = "$wanted" ] || die "$method $url: $status instead of $wanted"
}

# Secrets stand in no argument, where every user of the machine could read them: curl and kcat have files, jq the
# environment.
reach='
def quoted: gsub("\\\\"; "\\\\") | gsub("\""; "\\\"");
def reach(prefix; servers; password): [
    ["bootstrap.servers", servers],
    ["security.protocol", "SASL_SSL"],
    ["sasl.mechanism", "PLAIN"],
    ["sasl.jaas.config", "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"\(env.KAFKA_USER | quoted)\" password=\"\(password | quoted)\";"],
    ["ssl.truststore.type", "PEM"],
    ["ssl.truststore.certificates", $ca]
] | map({name: (prefix + .[0]), value: .[1]});
def source(prefix): reach(prefix; env.SOURCE_BOOTSTRAP; env.SOURCE_PASSWORD);
def destination(prefix): reach(prefix; env.DESTINATION_BOOTSTRAP; env.DESTINATION_PASSWORD);
def config(name; value): [{name: name, value: value}];
'

# body EXPRESSION: a JSON document; $source and $destination are the ids of the clusters.
body() {
    jq -n --rawfile ca "$CA" --arg source "$source_id" --arg destination "$destination_id" --arg topic "$TOPIC" "$reach $1"
}

# properties BOOTSTRAP PASSWORD: how kcat reaches a cluster.
properties() {
    printf '%s\n' "bootstrap.servers=$1" security.protocol=SASL_SSL sasl.mechanism=PLAIN "sasl.username=$KAFKA_USER" \
        "sasl.password=$2" "ssl.ca.location=$CA" log_level=3
}

# consume COUNT: what the destination's topic holds, once it holds so many records.
consume() {
    timeout 60 kcat -F "$work/destination" -C -q -t "$TOPIC" -o beginning -c "$1" ||
        die "$TOPIC at the destination has no $1 records after a minute; does kmirror run?"
}

# await EXPRESSION: asks for the mirror until the expression of jq holds, for a minute.
await() {
    tries=0
    until curl -sS -K "$work/curl" "$at_destination/links/$LINK/mirrors/$TOPIC" -o "$work/answer" && jq -e "$1" "$work/answer" >/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || die "after a minute the mirror is still: $(cat "$work/answer")"
        sleep 0.5
    done
    call 200 GET "$at_destination/links/$LINK/mirrors/$TOPIC"
}

# asking NAME VALUE: a line of curl's file.
asking() { printf '%s = "%s"\n' "$1" "$(printf '%s' "$2" | sed 's/[\\"]/\\&/g')"; }

asking cacert "${REST_CA-$CA}" >"$work/curl"
if [ -n "${REST_USER-}" ]; then asking user "$REST_USER:${REST_PASSWORD-}" >>"$work/curl"; fi
properties "$SOURCE_BOOTSTRAP" "$SOURCE_PASSWORD" >"$work/source"
properties "$DESTINATION_BOOTSTRAP" "$DESTINATION_PASSWORD" >"$work/destination"

say "The clusters"
source_api=${SOURCE_REST-http://127.0.0.1:8091}/kafka/v3/clusters
destination_api=${DESTINATION_REST-http://127.0.0.1:8090}/kafka/v3/clusters
call 200 GET "$source_api"
source_id=$(jq -r '.data[0].cluster_id' "$work/answer")
call 200 GET "$destination_api"
destination_id=$(jq -r '.data[0].cluster_id' "$work/answer")
at_source=$source_api/$source_id
at_destination=$destination_api/$destination_id

say "A topic at the source"
body '{topic_name: $topic, partitions_count: 1}' | call 201 POST "$at_source/topics"

if $from_source; then
    say "The link: the half that waits, then the half that connects"
    body '{source_cluster_id: $source, configs: (config("link.mode"; "DESTINATION") + config("connection.mode"; "INBOUND"))}' |
        call 201 POST "$at_destination/links?link_name=$LINK"
    body '{destination_cluster_id: $destination, configs: (config("link.mode"; "SOURCE")
        + config("connection.mode"; "OUTBOUND") + destination("") + source("local."))}' |
        call 201 POST "$at_source/links?link_name=$LINK"
    call 200 GET "$at_source/links/$LINK"
else
    say "The link"
    body '{source_cluster_id: $source, configs: source("")}' | call 201 POST "$at_destination/links?link_name=$LINK"
fi
call 200 GET "$at_destination/links"
call 200 GET "$at_destination/links/$LINK"
shown='[.data[] | select(.is_default | not) | {name, value, is_sensitive}]'
call 200 GET "$at_destination/links/$LINK/configs"
shown=.
jq -e '[.data[] | select(.is_sensitive and .value != null)] == []' "$work/answer" >/dev/null || die "a secret can be read back"

say "The mirror topic"
body '{source_topic_name: $topic}' | call 201 POST "$at_destination/links/$LINK/mirrors"
call 200 GET "$at_destination/links/-/mirrors"

say "1 to 5 at the source, and what the destination has of them"
seq 5 | kcat -F "$work/source" -P -q -t "$TOPIC"
consume 5 | tee "$work/consumed"
[ "$(cat "$work/consumed")" = "$(seq 5)" ] || die "that is not 1 to 5"
await '.mirror_status == "ACTIVE" and (.mirror_lags | length == 1 and all(.last_source_fetch_offset == 4))'

if [ -n "${KMIRROR-}" ] && [ -n "${TOPOLOGY-}" ]; then
    say "Replicas, the source's included"
    "$KMIRROR" replica status "$TOPOLOGY" "$TOPIC" --include-linked
fi

say "Promotion"
body '{mirror_topic_names: [$topic]}' | call 200 POST "$at_destination/links/$LINK/mirrors:promote"
jq -e '.data | length == 1 and all(.error_code == null)' "$work/answer" >/dev/null || die "the promotion is refused"
await '.mirror_status == "STOPPED"'

say "A record of its own in the promoted topic"
echo 6 | kcat -F "$work/destination" -P -q -t "$TOPIC"
consume 6 | tee "$work/consumed"
[ "$(cat "$work/consumed")" = "$(seq 6)" ] || die "that is not 1 to 6"

say "Everything is deleted"
call 204 DELETE "$at_destination/topics/$TOPIC"
if $from_source; then call 204 DELETE "$at_source/links/$LINK"; fi
call 204 DELETE "$at_destination/links/$LINK"
call 404 GET "$at_destination/links/$LINK"
call 204 DELETE "$at_source/topics/$TOPIC"

say "Done"
