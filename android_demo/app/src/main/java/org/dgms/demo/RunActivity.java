package org.dgms.demo;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.os.Bundle;
import android.os.Handler;
import android.os.Looper;
import android.os.PowerManager;
import android.view.View;
import android.view.WindowManager;
import android.widget.Button;
import android.widget.ProgressBar;
import android.widget.TextView;
import android.widget.Toolbar;

/**
 * Shows a {@link RunSession}: phase, round, chart, cancel. An intent with the extras of {@link
 * RunRequest} starts one, from the main screen and from {@code adb shell am start} alike. Exactly
 * one line with the tag DGMS_BENCH says how it ended.
 */
public final class RunActivity extends Activity {
  private static final String WATCH = "org.dgms.demo.WATCH";
  private static final String SESSION = "session";
  private static final String PROBLEM = "problem";

  /** Redrawing more often would take processor time from what is measured. */
  private static final long REFRESH_MS = 300;

  private final Handler handler = new Handler(Looper.getMainLooper());
  private final BackGuard back = new BackGuard();
  private final Runnable refresh =
      new Runnable() {
        @Override
        public void run() {
          refresh();
        }
      };
  private RunSession session;
  private String problem;
  private boolean sustained;

  /** An intent that shows the session that is running and starts none. */
  static Intent watch(Context context) {
    return new Intent(context, RunActivity.class).setAction(WATCH);
  }

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.activity_run);
    Insets.apply(findViewById(R.id.root));
    setActionBar((Toolbar) findViewById(R.id.bar));
    getActionBar().setDisplayHomeAsUpEnabled(true);
    findViewById(R.id.cancel)
        .setOnClickListener(
            new View.OnClickListener() {
              @Override
              public void onClick(View view) {
                stop();
              }
            });
    if (saved == null) {
      begin(getIntent());
    } else {
      session = RunSession.of(saved.getInt(SESSION));
      problem =
          session == null ? saved.getString(PROBLEM, getString(R.string.run_interrupted)) : null;
    }
  }

  /** A second intent while this activity is open (it is a singleTask). */
  @Override
  protected void onNewIntent(Intent intent) {
    super.onNewIntent(intent);
    setIntent(intent);
    showRun();
    begin(intent);
    refresh();
  }

  private void begin(Intent intent) {
    problem = null;
    if (WATCH.equals(intent.getAction())) {
      session = RunSession.running();
      if (session == null) {
        finish();
      }
      return;
    }
    try {
      RunRequest request = RunRequest.fromIntent(intent);
      session = RunSession.start(this, request);
      if (session == null) {
        session = RunSession.running();
        RunSession.logFailure(getString(R.string.run_busy));
        Dialogs.showError(this, R.string.run_not_started, getString(R.string.run_busy));
      }
    } catch (IllegalArgumentException e) {
      session = null;
      problem = Reasons.message(e);
      RunSession.logFailure(problem);
    }
  }

  @Override
  protected void onSaveInstanceState(Bundle out) {
    super.onSaveInstanceState(out);
    out.putInt(SESSION, session == null ? 0 : session.id());
    out.putString(PROBLEM, problem);
  }

  @Override
  protected void onStart() {
    super.onStart();
    refresh();
  }

  @Override
  protected void onStop() {
    super.onStop();
    handler.removeCallbacks(refresh);
  }

  @Override
  protected void onDestroy() {
    super.onDestroy();
    back.release(this);
    Dialogs.dismissAll(this);
  }

  private void refresh() {
    handler.removeCallbacks(refresh);
    RunSession.Snapshot now = session == null ? null : session.snapshot();
    boolean running = now != null && now.state == RunSession.State.RUNNING;
    holdBack(running);
    holdPower(running, now);
    if (now == null) {
      if (problem != null) {
        showProblem(problem);
      }
      return;
    }
    show(now);
    switch (now.state) {
      case RUNNING:
        handler.postDelayed(refresh, REFRESH_MS);
        break;
      case DONE:
        finish();
        if (!session.request().finish) {
          startActivity(ResultActivity.intent(this, now.result));
        }
        break;
      case CANCELLED:
        finish();
        break;
      default:
        showProblem(now.failure);
        if (session.request().finish) {
          finish();
        }
        break;
    }
  }

  private void holdBack(boolean running) {
    if (running) {
      back.hold(
          this,
          new Runnable() {
            @Override
            public void run() {
              askToStop();
            }
          });
    } else {
      back.release(this);
    }
  }

  private void holdPower(boolean running, RunSession.Snapshot now) {
    if (running) {
      getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
    } else {
      getWindow().clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
    }
    boolean wanted = running && now.sustained;
    if (wanted != sustained
        && getSystemService(PowerManager.class).isSustainedPerformanceModeSupported()) {
      getWindow().setSustainedPerformanceMode(wanted);
      sustained = wanted;
    }
  }

  private void show(RunSession.Snapshot now) {
    ((TextView) findViewById(R.id.run_model)).setText(now.model);
    setIfChanged(R.id.run_phase, now.phase);
    ((TextView) findViewById(R.id.run_settings))
        .setText(RunText.settings(this, session.request().settings));
    ProgressBar bar = findViewById(R.id.run_progress);
    bar.setIndeterminate(now.total == 0);
    bar.setMax(Math.max(1, now.total));
    bar.setProgress(now.done);
    String round =
        now.total == 0
            ? getString(R.string.round_none)
            : getString(R.string.round, now.done, now.total, PathStyle.name(this, now.path));
    setIfChanged(R.id.run_round, round);
    ((LatencyChartView) findViewById(R.id.run_chart)).setSeries(now.series);
    ((ComparisonBarsView) findViewById(R.id.run_bars)).setSeries(now.series);
    findViewById(R.id.medians_card).setVisibility(now.series.isEmpty() ? View.GONE : View.VISIBLE);
  }

  /** The phase is a live region: setting the same text again would be read out again. */
  private void setIfChanged(int id, String text) {
    TextView view = findViewById(id);
    if (!text.contentEquals(view.getText())) {
      view.setText(text);
    }
  }

  /** Back from {@link #showProblem}. */
  private void showRun() {
    findViewById(R.id.run_content).setVisibility(View.VISIBLE);
    findViewById(R.id.message).setVisibility(View.GONE);
    ((Button) findViewById(R.id.cancel)).setText(R.string.cancel_run);
  }

  private void showProblem(String reason) {
    findViewById(R.id.run_content).setVisibility(View.GONE);
    findViewById(R.id.message).setVisibility(View.VISIBLE);
    ((TextView) findViewById(R.id.message_title)).setText(R.string.run_failed);
    ((TextView) findViewById(R.id.message_text)).setText(reason);
    ((Button) findViewById(R.id.cancel)).setText(R.string.close);
  }

  private void stop() {
    if (session != null && session.snapshot().state == RunSession.State.RUNNING) {
      session.cancel();
      ((TextView) findViewById(R.id.run_phase)).setText(R.string.phase_cancelling);
    } else {
      finish();
    }
  }

  private void askToStop() {
    Dialogs.ask(
        this,
        getString(R.string.ask_stop),
        R.string.cancel_run,
        R.string.go_on,
        new Runnable() {
          @Override
          public void run() {
            stop();
          }
        });
  }

  /** Devices below API 33; newer ones come through {@link BackGuard}. */
  @Override
  @SuppressWarnings("deprecation")
  public void onBackPressed() {
    if (session != null && session.snapshot().state == RunSession.State.RUNNING) {
      askToStop();
    } else {
      super.onBackPressed();
    }
  }

  /** The arrow in the bar does what back does. */
  @Override
  public boolean onNavigateUp() {
    onBackPressed();
    return true;
  }
}
