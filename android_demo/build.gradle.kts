plugins {
  alias(libs.plugins.android.application) apply false
  alias(libs.plugins.android.library) apply false
}
