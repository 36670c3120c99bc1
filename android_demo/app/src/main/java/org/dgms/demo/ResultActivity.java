package org.dgms.demo;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.os.Bundle;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.LinearLayout;
import android.widget.TextView;
import android.widget.Toolbar;
import java.io.DataInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.ModelSpec;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.PathResult;
import org.dgms.demo.bench.ResultStore;

/** One result: headline, figures, charts, samples, the delegate's counters, settings and device. */
public final class ResultActivity extends Activity {
  private static final String FILE = "file";
  private static final int MAX_THUMBNAIL_BYTES = 1 << 22;

  /** What is read from storage. */
  private static final class Loaded {
    BenchmarkResult result;

    /** The model as the app has it now; null if it is gone. */
    ModelSpec model;

    final Map<String, Bitmap> images = new HashMap<String, Bitmap>();
  }

  private File file;

  /** An intent that shows the result in that file of the store. */
  static Intent intent(Context context, File file) {
    return new Intent(context, ResultActivity.class).putExtra(FILE, file.getName());
  }

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.activity_result);
    Insets.apply(findViewById(R.id.root));
    setActionBar((Toolbar) findViewById(R.id.bar));
    getActionBar().setDisplayHomeAsUpEnabled(true);
    file = new File(Results.store(this).folder(), String.valueOf(getIntent().getStringExtra(FILE)));
    load();
  }

  @Override
  protected void onDestroy() {
    super.onDestroy();
    Dialogs.dismissAll(this);
  }

  @Override
  public boolean onCreateOptionsMenu(Menu menu) {
    getMenuInflater().inflate(R.menu.result, menu);
    return true;
  }

  @Override
  public boolean onOptionsItemSelected(MenuItem item) {
    int id = item.getItemId();
    if (id == R.id.share || id == R.id.share_csv) {
      Results.share(this, file, id == R.id.share_csv);
      return true;
    }
    if (id == R.id.delete) {
      Dialogs.ask(
          this,
          getString(R.string.ask_delete),
          R.string.delete,
          android.R.string.cancel,
          new Runnable() {
            @Override
            public void run() {
              delete();
            }
          });
      return true;
    }
    return super.onOptionsItemSelected(item);
  }

  @Override
  public boolean onNavigateUp() {
    finish(); // To where the reader came from: the main screen or the history.
    return true;
  }

  private void delete() {
    try {
      Results.store(this).delete(file);
      finish();
    } catch (IOException e) {
      Dialogs.showError(this, R.string.error_delete, Reasons.of(this, e));
    }
  }

  private void load() {
    new Background<Loaded>() {
      @Override
      Loaded work() throws IOException {
        Loaded loaded = new Loaded();
        loaded.result = ResultStore.read(file);
        loaded.model = findModel(loaded.result);
        if (loaded.model != null) {
          for (ModelSpec.Sample sample : loaded.model.samples()) {
            loaded.images.put(sample.file().getName(), thumbnail(sample.file()));
          }
        }
        return loaded;
      }

      @Override
      void done(Loaded loaded) {
        show(loaded);
      }

      @Override
      void failed(Throwable reason) {
        showProblem(reason);
      }
    }.start(this, "dgms-result");
  }

  /** The image; null if it is gone or damaged, which is no reason to show no result. */
  private static Bitmap thumbnail(File image) {
    byte[] bytes = new byte[(int) Math.min(image.length(), MAX_THUMBNAIL_BYTES)];
    try (DataInputStream in = new DataInputStream(new FileInputStream(image))) {
      in.readFully(bytes);
      return BitmapFactory.decodeByteArray(bytes, 0, bytes.length);
    } catch (IOException e) {
      return null;
    }
  }

  private ModelSpec findModel(BenchmarkResult result) {
    for (ModelLibrary.Entry entry : new ModelLibrary(this).list().entries) {
      boolean same = entry.model.file().getPath().equals(result.model().path());
      if (same && entry.model.file().length() == result.model().bytes()) {
        return entry.model;
      }
    }
    return null;
  }

  private void showProblem(Throwable reason) {
    findViewById(R.id.message).setVisibility(View.VISIBLE);
    ((TextView) findViewById(R.id.message_title)).setText(R.string.result_unreadable);
    ((TextView) findViewById(R.id.message_text))
        .setText(getString(R.string.result_unreadable_text, Reasons.message(reason)));
  }

  private void show(Loaded loaded) {
    BenchmarkResult result = loaded.result;
    ResultText text = new ResultText(this, result);
    List<LatencySeries> series = series(result);
    findViewById(R.id.result).setVisibility(View.VISIBLE);
    showHeadline(text);
    ((ComparisonBarsView) findViewById(R.id.result_bars)).setSeries(series);
    ((LatencyChartView) findViewById(R.id.result_chart)).setSeries(series);
    ((HistogramView) findViewById(R.id.result_histogram)).setSeries(series);
    setShown(R.id.result_bars, !series.isEmpty());
    setShown(R.id.result_bars_note, !series.isEmpty());
    setShown(R.id.table_card, !series.isEmpty());
    setShown(R.id.chart_card, !series.isEmpty());
    setShown(R.id.histogram_card, !series.isEmpty());
    ((TextView) findViewById(R.id.result_heat)).setText(text.heat());
    ResultTables.showPaths(this, result);
    ResultTables.showCounters(this, result);
    showSamples(loaded, text);
    Facts.show((LinearLayout) findViewById(R.id.about), text.facts());
  }

  private void showHeadline(ResultText text) {
    TextView headline = findViewById(R.id.result_headline);
    headline.setText(text.headline());
    Double ratio = text.ratio();
    if (ratio != null) {
      headline.setTextColor(getColor(ratio <= 1 ? R.color.good : R.color.bad));
    }
    ((TextView) findViewById(R.id.result_model)).setText(text.subtitle());
    showNotice(R.id.result_throttled, text.throttled());
    showNotice(R.id.result_errors, text.errors());
  }

  private void showNotice(int id, String words) {
    ((TextView) findViewById(id)).setText(words == null ? "" : words);
    setShown(id, words != null);
  }

  private void setShown(int id, boolean shown) {
    findViewById(id).setVisibility(shown ? View.VISIBLE : View.GONE);
  }

  private static List<LatencySeries> series(BenchmarkResult result) {
    List<LatencySeries> series = new ArrayList<LatencySeries>();
    for (PathKind kind : SettingsForm.ORDER) {
      PathResult path = result.path(kind);
      if (path != null && path.succeeded()) {
        series.add(new LatencySeries(kind, path.startsMs(), path.runsMs()));
      }
    }
    return series;
  }

  private void showSamples(Loaded loaded, ResultText text) {
    PathResult shown = null;
    for (PathKind kind : SettingsForm.ORDER) {
      PathResult path = loaded.result.path(kind);
      if (shown == null && path != null && !path.samples().isEmpty()) {
        shown = path;
      }
    }
    setShown(R.id.samples_card, shown != null);
    if (shown != null) {
      ((TextView) findViewById(R.id.samples_summary)).setText(text.samples(shown));
      List<String> labels = loaded.model == null ? new ArrayList<String>() : loaded.model.labels();
      SampleGrid.show(this, shown.samples(), labels, loaded.images);
    }
  }
}
