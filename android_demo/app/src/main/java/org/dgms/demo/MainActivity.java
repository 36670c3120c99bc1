package org.dgms.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.os.Handler;
import android.os.Looper;
import android.os.SystemClock;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.Button;
import android.widget.LinearLayout;
import android.widget.RadioButton;
import android.widget.RadioGroup;
import android.widget.TextView;
import android.widget.Toolbar;
import java.io.File;
import java.util.List;
import java.util.Map;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.CpuTopology;
import org.dgms.demo.bench.ModelSpec;
import org.dgms.tflite.DgmsDelegate;

/** First screen: which model, which paths, how, and on what device. */
public final class MainActivity extends Activity {
  private static final int OPEN_FILE = 1;
  private static final String OPENED = "opened";

  /** What takes a while to find out. */
  private static final class Loaded {
    ModelLibrary.Listing models;
    CpuTopology topology;
    Map<String, String> device;
    String delegateMissing;
  }

  private SettingsStore store;
  private SettingsForm form;
  private RadioGroup models;
  private ModelLibrary.Listing listing;
  private String chosen;

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.activity_main);
    Insets.apply(findViewById(R.id.root));
    setActionBar((Toolbar) findViewById(R.id.bar));
    setTitle(R.string.main_title);
    store = new SettingsStore(this);
    form = new SettingsForm(this, store.settings());
    models = findViewById(R.id.models);
    chosen = saved == null ? store.model() : saved.getString(OPENED, store.model());
    findViewById(R.id.open_file)
        .setOnClickListener(
            new View.OnClickListener() {
              @Override
              public void onClick(View view) {
                openFile();
              }
            });
    findViewById(R.id.run)
        .setOnClickListener(
            new View.OnClickListener() {
              @Override
              public void onClick(View view) {
                run();
              }
            });
    showPushHint();
    if (saved == null && RunSession.running() != null) {
      // Back in the app while a run goes on: that is what the reader wants to see.
      startActivity(RunActivity.watch(this));
    }
  }

  @Override
  protected void onStart() {
    super.onStart();
    load(); // Also after a push over adb or a file that was opened meanwhile.
  }

  @Override
  protected void onStop() {
    super.onStop();
    BenchmarkSettings settings = form.settingsOrNull(false);
    if (settings != null) {
      store.save(chosen, settings);
    }
  }

  @Override
  protected void onSaveInstanceState(Bundle out) {
    super.onSaveInstanceState(out);
    out.putString(OPENED, chosen);
  }

  @Override
  public boolean onCreateOptionsMenu(Menu menu) {
    getMenuInflater().inflate(R.menu.main, menu);
    return true;
  }

  @Override
  public boolean onOptionsItemSelected(MenuItem item) {
    if (item.getItemId() == R.id.history) {
      startActivity(new Intent(this, HistoryActivity.class));
      return true;
    }
    return super.onOptionsItemSelected(item);
  }

  private void showPushHint() {
    boolean possible = new ModelLibrary(this).pushedFolder() != null;
    ((TextView) findViewById(R.id.push_hint))
        .setText(possible ? R.string.push_hint : R.string.push_unavailable);
  }

  private void load() {
    new Background<Loaded>() {
      @Override
      Loaded work() {
        Loaded loaded = new Loaded();
        loaded.models = new ModelLibrary(MainActivity.this).list();
        AndroidEnvironment environment = new AndroidEnvironment(MainActivity.this);
        loaded.topology = environment.cpuTopology();
        loaded.device = DeviceFacts.of(MainActivity.this, environment);
        loaded.delegateMissing =
            DgmsDelegate.isAvailable() ? null : DgmsDelegate.unavailableReason();
        return loaded;
      }

      @Override
      void done(Loaded loaded) {
        show(loaded);
      }

      @Override
      void failed(Throwable reason) {
        findViewById(R.id.models_loading).setVisibility(View.GONE);
        Dialogs.showError(
            MainActivity.this, R.string.error_models, Reasons.of(MainActivity.this, reason));
      }
    }.start(this, "dgms-models");
  }

  private void show(Loaded loaded) {
    listing = loaded.models;
    findViewById(R.id.models_loading).setVisibility(View.GONE);
    Facts.show((LinearLayout) findViewById(R.id.device), loaded.device);
    form.showTopology(loaded.topology);
    form.showDelegate(loaded.delegateMissing);
    showModels();
  }

  private void showModels() {
    models.setOnCheckedChangeListener(null);
    models.removeAllViews();
    List<ModelLibrary.Entry> entries = listing.entries;
    int checked = View.NO_ID;
    for (ModelLibrary.Entry entry : entries) {
      RadioButton row =
          (RadioButton) getLayoutInflater().inflate(R.layout.model_choice, models, false);
      row.setId(View.generateViewId());
      row.setText(ModelText.row(this, entry));
      row.setTag(entry.model);
      models.addView(row);
      if (checked == View.NO_ID || entry.model.file().getPath().equals(chosen)) {
        checked = row.getId();
      }
    }
    models.setOnCheckedChangeListener(
        new RadioGroup.OnCheckedChangeListener() {
          @Override
          public void onCheckedChanged(RadioGroup group, int id) {
            choose(id);
          }
        });
    if (checked != View.NO_ID) {
      models.check(checked);
    }
    showProblems(entries.isEmpty());
    ((Button) findViewById(R.id.run)).setEnabled(!entries.isEmpty());
  }

  private void choose(int id) {
    View row = models.findViewById(id);
    if (row != null) {
      ModelSpec model = (ModelSpec) row.getTag();
      chosen = model.file().getPath();
      form.showModel(model);
    }
  }

  private void showProblems(boolean empty) {
    StringBuilder words = new StringBuilder(empty ? getString(R.string.no_models) : "");
    for (String problem : listing.problems) {
      words.append(words.length() == 0 ? "" : "\n\n").append(problem);
    }
    TextView notice = findViewById(R.id.models_problem);
    notice.setText(words);
    notice.setVisibility(words.length() == 0 ? View.GONE : View.VISIBLE);
  }

  private void run() {
    BenchmarkSettings settings = form.settingsOrNull(true);
    if (settings == null || chosen == null) {
      return; // The field that is wrong says so.
    }
    store.save(chosen, settings);
    startActivity(new RunRequest(chosen, settings, null, false).toIntent(this));
  }

  private void openFile() {
    // Model files have no registered type of their own.
    Intent intent =
        new Intent(Intent.ACTION_OPEN_DOCUMENT)
            .addCategory(Intent.CATEGORY_OPENABLE)
            .setType("*/*");
    try {
      startActivityForResult(intent, OPEN_FILE);
    } catch (ActivityNotFoundException e) {
      Dialogs.showError(this, R.string.error_open, getString(R.string.problem_no_picker));
    }
  }

  @Override
  protected void onActivityResult(int request, int result, Intent data) {
    if (request == OPEN_FILE && result == RESULT_OK && data != null && data.getData() != null) {
      copy(data.getData());
    }
  }

  private void copy(final Uri document) {
    final Dialogs.Copying dialog = new Dialogs.Copying(this);
    final Handler main = new Handler(Looper.getMainLooper());
    new Background<File>() {
      private long shown;

      @Override
      File work() throws Exception {
        return new ModelLibrary(MainActivity.this)
            .open(
                document,
                new ModelLibrary.Progress() {
                  @Override
                  public void onCopied(final long bytes, final long total) {
                    if (SystemClock.uptimeMillis() - shown < 100) {
                      return;
                    }
                    shown = SystemClock.uptimeMillis();
                    main.post(
                        new Runnable() {
                          @Override
                          public void run() {
                            dialog.show(bytes, total);
                          }
                        });
                  }
                });
      }

      @Override
      void done(File copy) {
        dialog.dismiss();
        chosen = copy.getPath();
        load();
      }

      @Override
      void failed(Throwable reason) {
        dialog.dismiss();
        Dialogs.showError(
            MainActivity.this, R.string.error_open, Reasons.of(MainActivity.this, reason));
      }
    }.start(this, "dgms-copy");
  }

  @Override
  protected void onDestroy() {
    super.onDestroy();
    Dialogs.dismissAll(this);
  }
}
