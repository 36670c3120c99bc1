package org.dgms.demo;

import android.app.Activity;
import android.os.PowerManager;
import android.text.SpannableStringBuilder;
import android.text.Spanned;
import android.text.style.ForegroundColorSpan;
import android.view.View;
import android.view.ViewGroup;
import android.widget.ArrayAdapter;
import android.widget.CheckBox;
import android.widget.EditText;
import android.widget.Spinner;
import android.widget.Switch;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.dgms.demo.bench.Activations;
import org.dgms.demo.bench.Affinity;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.CpuTopology;
import org.dgms.demo.bench.ModelSpec;
import org.dgms.demo.bench.PathKind;

/**
 * The paths and settings of the main screen: shows {@link BenchmarkSettings} and reads them back,
 * checked.
 */
final class SettingsForm {
  /** The order on the screen: the delegate, then the peer that it has to beat. */
  static final PathKind[] ORDER = {
    PathKind.DELEGATE, PathKind.DENSE_XNNPACK, PathKind.XNNPACK, PathKind.BUILTIN
  };

  private final Activity activity;
  private final Map<PathKind, CheckBox> paths = new EnumMap<PathKind, CheckBox>(PathKind.class);
  private final Spinner threads;
  private final Spinner affinity;
  private final Spinner activations;
  private final List<Affinity> affinities = new ArrayList<Affinity>();
  private final long seed;
  private Affinity wantedAffinity;

  SettingsForm(Activity activity, BenchmarkSettings settings) {
    this.activity = activity;
    threads = activity.findViewById(R.id.threads);
    affinity = activity.findViewById(R.id.affinity);
    activations = activity.findViewById(R.id.activations);
    seed = settings.seed();
    wantedAffinity = settings.affinity();
    addPaths(settings);
    showThreads(settings.numThreads());
    showTopology(null);
    List<String> names = new ArrayList<String>();
    names.add(activity.getString(R.string.activations_float32));
    names.add(activity.getString(R.string.activations_dynamic_int8));
    fill(activations, names, settings.activations().ordinal());
    number(R.id.runs).setText(String.valueOf(settings.runs()));
    number(R.id.warmup).setText(String.valueOf(settings.warmup()));
    number(R.id.cool_down).setText(String.valueOf(settings.coolDownSeconds()));
    double seconds = settings.minSeconds();
    number(R.id.min_seconds)
        .setText(
            seconds == (long) seconds ? String.valueOf((long) seconds) : String.valueOf(seconds));
    toggle(R.id.profile).setChecked(settings.profile());
    boolean sustained =
        activity.getSystemService(PowerManager.class).isSustainedPerformanceModeSupported();
    toggle(R.id.sustained).setEnabled(sustained);
    toggle(R.id.sustained).setChecked(sustained && settings.sustained());
    activity
        .findViewById(R.id.sustained_missing)
        .setVisibility(sustained ? View.GONE : View.VISIBLE);
  }

  private void addPaths(BenchmarkSettings settings) {
    ViewGroup list = activity.findViewById(R.id.paths);
    for (PathKind kind : ORDER) {
      CheckBox box =
          (CheckBox) activity.getLayoutInflater().inflate(R.layout.path_choice, list, false);
      SpannableStringBuilder text = new SpannableStringBuilder("■  ");
      text.setSpan(
          new ForegroundColorSpan(PathStyle.color(activity, kind)),
          0,
          1,
          Spanned.SPAN_EXCLUSIVE_EXCLUSIVE);
      text.append(
          ModelText.titled(
              activity, PathStyle.name(activity, kind), PathStyle.explanation(activity, kind)));
      box.setText(text);
      box.setContentDescription(
          PathStyle.name(activity, kind) + ". " + PathStyle.explanation(activity, kind));
      box.setChecked(settings.paths().contains(kind));
      box.setTag(kind);
      list.addView(box);
      paths.put(kind, box);
    }
  }

  private void showThreads(int wanted) {
    int cores =
        Math.max(
            wanted,
            Math.min(Runtime.getRuntime().availableProcessors(), BenchmarkSettings.MAX_THREADS));
    List<String> names = new ArrayList<String>();
    for (int count = 1; count <= cores; count++) {
      names.add(activity.getResources().getQuantityString(R.plurals.threads, count, count));
    }
    fill(threads, names, wanted - 1);
  }

  /**
   * Names the cores behind each choice; kinds that the device does not have cannot be chosen. Null:
   * not known yet.
   */
  void showTopology(CpuTopology topology) {
    if (affinity.getAdapter() != null && !affinities.isEmpty()) {
      wantedAffinity = affinities.get(affinity.getSelectedItemPosition());
    }
    List<String> names = new ArrayList<String>();
    List<Affinity> kinds = new ArrayList<Affinity>();
    if (topology == null) {
      kinds.add(wantedAffinity);
      names.add(AffinityText.plain(activity, wantedAffinity));
    } else {
      for (Affinity kind : Affinity.values()) {
        if (kind == Affinity.ALL || topology.isHeterogeneous()) {
          kinds.add(kind);
          names.add(AffinityText.of(activity, topology, kind));
        }
      }
    }
    affinities.clear();
    affinities.addAll(kinds);
    fill(affinity, names, Math.max(0, kinds.indexOf(wantedAffinity)));
  }

  /** Says why there is no delegate, or nothing where there is one. */
  void showDelegate(String reason) {
    TextView notice = activity.findViewById(R.id.delegate_missing);
    notice.setVisibility(reason == null ? View.GONE : View.VISIBLE);
    notice.setText(reason == null ? "" : activity.getString(R.string.delegate_missing, reason));
    CheckBox box = paths.get(PathKind.DELEGATE);
    box.setEnabled(reason == null);
    if (reason != null) {
      box.setChecked(false);
    }
  }

  /** Offers the dense twin only for models that have one. */
  void showModel(ModelSpec model) {
    paths.get(PathKind.DENSE_XNNPACK).setEnabled(model.denseFile() != null);
  }

  /**
   * The settings on the screen.
   *
   * @param explain whether a dialog shall say so if nothing is chosen to be timed
   * @return null if one of them is wrong; a field that is wrong says so itself
   */
  BenchmarkSettings settingsOrNull(boolean explain) {
    List<PathKind> chosen = new ArrayList<PathKind>();
    List<PathKind> possible = new ArrayList<PathKind>();
    for (PathKind kind : ORDER) {
      CheckBox box = paths.get(kind);
      if (box.isChecked()) {
        chosen.add(kind);
        if (box.isEnabled()) {
          possible.add(kind);
        }
      }
    }
    if (possible.isEmpty()) {
      if (explain) {
        Dialogs.showError(activity, R.string.error_settings, activity.getString(R.string.no_paths));
      }
      return null;
    }
    Integer runs = wholeNumber(R.id.runs, 1, BenchmarkSettings.MAX_ROUNDS);
    Integer warmup = wholeNumber(R.id.warmup, 0, BenchmarkSettings.MAX_ROUNDS);
    Integer coolDown = wholeNumber(R.id.cool_down, 0, BenchmarkSettings.MAX_COOL_DOWN_SECONDS);
    Double minSeconds = decimal(R.id.min_seconds, BenchmarkSettings.MAX_MIN_SECONDS);
    if (runs == null || warmup == null || coolDown == null || minSeconds == null) {
      return null;
    }
    return BenchmarkSettings.builder()
        .setPaths(chosen)
        .setNumThreads(threads.getSelectedItemPosition() + 1)
        .setAffinity(affinities.get(affinity.getSelectedItemPosition()))
        .setActivations(Activations.values()[activations.getSelectedItemPosition()])
        .setRuns(runs)
        .setMinSeconds(minSeconds)
        .setWarmup(warmup)
        .setCoolDownSeconds(coolDown)
        .setProfile(toggle(R.id.profile).isChecked())
        .setSustained(toggle(R.id.sustained).isChecked())
        .setSeed(seed)
        .build();
  }

  private Integer wholeNumber(int id, int low, int high) {
    EditText field = number(id);
    try {
      int value = Integer.parseInt(field.getText().toString().trim());
      if (value >= low && value <= high) {
        field.setError(null);
        return value;
      }
    } catch (NumberFormatException e) {
      // The same message as for a number out of range.
    }
    field.setError(activity.getString(R.string.number_range, low, high));
    return null;
  }

  private Double decimal(int id, int high) {
    EditText field = number(id);
    try {
      double value = Double.parseDouble(field.getText().toString().trim().replace(',', '.'));
      if (value >= 0 && value <= high) {
        field.setError(null);
        return value;
      }
    } catch (NumberFormatException e) {
      // The same message as for a number out of range.
    }
    field.setError(activity.getString(R.string.number_range, 0, high));
    return null;
  }

  private EditText number(int id) {
    return activity.findViewById(id);
  }

  private Switch toggle(int id) {
    return activity.findViewById(id);
  }

  private void fill(Spinner spinner, List<String> names, int selected) {
    ArrayAdapter<String> adapter =
        new ArrayAdapter<String>(activity, R.layout.spinner_value, names);
    adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
    spinner.setAdapter(adapter);
    spinner.setSelection(selected);
  }
}
