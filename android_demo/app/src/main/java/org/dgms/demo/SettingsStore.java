package org.dgms.demo;

import android.content.Context;
import android.content.SharedPreferences;
import java.util.ArrayList;
import java.util.List;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.PathKind;

/** What was last chosen on the main screen; it outlives rotation and restarts. */
final class SettingsStore {
  private static final String MODEL = "model";
  private static final String SETTINGS = "settings";

  private final SharedPreferences preferences;

  SettingsStore(Context context) {
    preferences = context.getSharedPreferences("benchmark", Context.MODE_PRIVATE);
  }

  /** File of the model that was last chosen, or null. */
  String model() {
    return preferences.getString(MODEL, null);
  }

  /** Remembers a choice. */
  void save(String model, BenchmarkSettings settings) {
    List<String> ids = new ArrayList<String>();
    for (PathKind kind : settings.paths()) {
      ids.add(kind.id());
    }
    preferences
        .edit()
        .putString(MODEL, model)
        .putString(SETTINGS + ".paths", android.text.TextUtils.join(",", ids))
        .putInt(SETTINGS + ".threads", settings.numThreads())
        .putString(SETTINGS + ".affinity", settings.affinity().id())
        .putInt(SETTINGS + ".warmup", settings.warmup())
        .putInt(SETTINGS + ".runs", settings.runs())
        .putFloat(SETTINGS + ".min_seconds", (float) settings.minSeconds())
        .putString(SETTINGS + ".activations", settings.activations().id())
        .putBoolean(SETTINGS + ".profile", settings.profile())
        .putBoolean(SETTINGS + ".sustained", settings.sustained())
        .putInt(SETTINGS + ".cool_down", settings.coolDownSeconds())
        .apply();
  }

  /**
   * The settings that were last chosen; the defaults where none were, or where another version left
   * what this one refuses.
   */
  BenchmarkSettings settings() {
    BenchmarkSettings defaults = BenchmarkSettings.builder().setProfile(true).build();
    try {
      BenchmarkSettings.Builder builder =
          defaults.toBuilder()
              .setNumThreads(preferences.getInt(SETTINGS + ".threads", defaults.numThreads()))
              .setAffinity(
                  Affinity.of(
                      preferences.getString(SETTINGS + ".affinity", defaults.affinity().id())))
              .setWarmup(preferences.getInt(SETTINGS + ".warmup", defaults.warmup()))
              .setRuns(preferences.getInt(SETTINGS + ".runs", defaults.runs()))
              .setMinSeconds(
                  preferences.getFloat(SETTINGS + ".min_seconds", (float) defaults.minSeconds()))
              .setActivations(
                  Activations.of(
                      preferences.getString(
                          SETTINGS + ".activations", defaults.activations().id())))
              .setProfile(preferences.getBoolean(SETTINGS + ".profile", defaults.profile()))
              .setSustained(preferences.getBoolean(SETTINGS + ".sustained", defaults.sustained()))
              .setCoolDownSeconds(
                  preferences.getInt(SETTINGS + ".cool_down", defaults.coolDownSeconds()));
      String paths = preferences.getString(SETTINGS + ".paths", null);
      return (paths == null ? builder : builder.setPaths(paths)).build();
    } catch (IllegalArgumentException | ClassCastException e) {
      return defaults;
    }
  }
}
