#!/bin/sh
# certbot deploy hook: copies a renewed certificate to where popgate's user can read it, and has popgate take it.
#
#     install scripts/certbot/popgate-deploy.sh /etc/letsencrypt/renewal-hooks/deploy/popgate
#
# certbot runs it as root after each renewal, with RENEWED_LINEAGE=/etc/letsencrypt/live/NAME; that folder is readable by
# root alone.  The copy is $POPGATE_CERTS/NAME with fullchain.pem and privkey.pem, for certificates = ["certs/NAME"].
# By hand, for the first time:
#
#     RENEWED_LINEAGE=/etc/letsencrypt/live/mail.example.com /etc/letsencrypt/renewal-hooks/deploy/popgate
#
# POPGATE_USER (popgate), POPGATE_CERTS (/etc/popgate/certs) and POPGATE_CONFIG (/etc/popgate/conf.d) may be set.
# Certificates that popgate does not use are copied, too: it does not know of them.

set -eu
umask 077

lineage=${RENEWED_LINEAGE:?"set RENEWED_LINEAGE to a folder in /etc/letsencrypt/live"}
user=${POPGATE_USER:-popgate}
config=${POPGATE_CONFIG:-/etc/popgate/conf.d}
folder=${POPGATE_CERTS:-/etc/popgate/certs}/$(basename "$lineage")

install -d -m 0750 -o root -g "$(id -g "$user")" "$folder"
for file in privkey.pem fullchain.pem; do # each whole or not at all; popgate never shows a pair that does not fit
    install -m 0640 -o root -g "$(id -g "$user")" "$lineage/$file" "$folder/.$file.new"
    mv -f "$folder/.$file.new" "$folder/$file"
done

# Not running: it reads them when it starts.  A reload that is refused says why and is no reason to fail the renewal.
if command -v popgate >/dev/null; then
    popgate reload -c "$config" || echo "popgate-deploy: copied, but popgate has not taken it; it looks again within a minute" >&2
fi
