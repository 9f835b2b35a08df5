#!/bin/sh
# Brings the files of Swagger UI that the documentation page is made of into
# swagger-ui/, from the npm package swagger-ui-dist of the version below. SHA256SUMS
# says what they have to be, unpacked; a file that is something else stops the script
# with nothing replaced. To move to another version, change it here, delete
# swagger-ui/SHA256SUMS, which is then written anew, and look at the page.
#
# The two large files are kept as they travel, compressed. No source maps: they are
# larger than the program's own code and nobody debugs Swagger UI here.
set -eu

version=5.35.0

cd "$(dirname "$0")"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

npm pack "swagger-ui-dist@$version" --silent --pack-destination "$fresh" >/dev/null
tar -xzf "$fresh/swagger-ui-dist-$version.tgz" -C "$fresh"
mkdir -p swagger-ui
sums=$PWD/swagger-ui/SHA256SUMS
(
	cd "$fresh/package"
	mv LICENSE LICENSE.txt
	mv NOTICE NOTICE.txt
	set -- LICENSE.txt NOTICE.txt swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css
	test -e "$sums" || sha256sum "$@" >"$sums"
	sha256sum --check --strict --quiet "$sums"
	gzip -9n swagger-ui-bundle.js swagger-ui.css
)
cp "$fresh/package/LICENSE.txt" "$fresh/package/NOTICE.txt" "$fresh/package/swagger-ui-bundle.js.LICENSE.txt" \
	"$fresh/package/swagger-ui-bundle.js.gz" "$fresh/package/swagger-ui.css.gz" swagger-ui/
chmod 644 swagger-ui/*
