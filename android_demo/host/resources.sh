#!/bin/bash
# Resources and manifest of :app through aapt2 against the API 36 framework: R.java, the resource file that Robolectric reads and that
# apk.sh makes an APK of. Needs fetch.xml's files.
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"
need aapt2 aapt
app=$demo/app/src/main
framework=$out/fetched/framework-36.apk
res=$out/res
package=org.dgms.demo

if ! up_to_date "$framework" "$host/framework_apk.py" "$out/fetched/android-framework.jar"; then
  say "framework of API 36 for aapt2"
  "$python" "$host/framework_apk.py" "$out/fetched/android-framework.jar" "$framework"
fi

sdk() { sed -nE "s/^ *$1 *= *\"([0-9]+)\".*/\1/p" "$demo/gradle/libs.versions.toml"; }
min_sdk=$(sdk minSdk) target_sdk=$(sdk targetSdk)

say "resources (minSdk $min_sdk, targetSdk $target_sdk)"
rm -rf "$res"
mkdir -p "$res/gen" "$res/test-classpath/com/android/tools"
# Gradle gives the package (namespace), the versions and debuggable; the source manifest has none of them.
sed "0,/<manifest/s//<manifest package=\"$package\" android:versionCode=\"1\" android:versionName=\"1.0\"/" "$app/AndroidManifest.xml" >"$res/AndroidManifest.xml"
aapt2 compile --dir "$app/res" -o "$res/compiled.zip"
# aapt2 2.19 says "Unknown chunk type '200'" for a part of the newer framework that it does not need.
aapt2 link -I "$framework" --manifest "$res/AndroidManifest.xml" -A "$out/assets" -o "$res/resources.apk" --java "$res/gen" \
  --min-sdk-version "$min_sdk" --target-sdk-version "$target_sdk" "$res/compiled.zip" 2> >(grep -v "Unknown chunk type '200'" >&2)
cat >"$res/test-classpath/com/android/tools/test_config.properties" <<END
android_merged_manifest=$res/AndroidManifest.xml
android_resource_apk=$res/resources.apk
android_merged_assets=$out/assets
android_custom_package=$package
END
