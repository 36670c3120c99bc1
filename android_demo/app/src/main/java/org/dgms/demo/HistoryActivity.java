package org.dgms.demo;

import android.app.Activity;
import android.os.Bundle;
import android.view.MenuItem;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ListView;
import android.widget.PopupMenu;
import android.widget.TextView;
import android.widget.Toolbar;
import java.io.File;
import java.io.IOException;
import java.util.List;
import org.dgms.demo.bench.ResultStore;

/** Earlier results, newest first; damaged files stand at the end, as such. */
public final class HistoryActivity extends Activity {
  private HistoryAdapter adapter;

  @Override
  protected void onCreate(Bundle saved) {
    super.onCreate(saved);
    setContentView(R.layout.activity_history);
    Insets.apply(findViewById(R.id.root));
    setActionBar((Toolbar) findViewById(R.id.bar));
    getActionBar().setDisplayHomeAsUpEnabled(true);
    adapter =
        new HistoryAdapter(
            this,
            new HistoryAdapter.MoreListener() {
              @Override
              public void onMore(ResultStore.Entry entry, View button) {
                showMenu(entry, button);
              }
            });
    ListView list = findViewById(R.id.history);
    list.setAdapter(adapter);
    list.setOnItemClickListener(
        new AdapterView.OnItemClickListener() {
          @Override
          public void onItemClick(AdapterView<?> parent, View row, int position, long id) {
            startActivity(
                ResultActivity.intent(HistoryActivity.this, adapter.getItem(position).file()));
          }
        });
  }

  @Override
  protected void onStart() {
    super.onStart();
    load();
  }

  @Override
  protected void onDestroy() {
    super.onDestroy();
    Dialogs.dismissAll(this);
  }

  @Override
  public boolean onNavigateUp() {
    finish();
    return true;
  }

  private void load() {
    new Background<List<ResultStore.Entry>>() {
      @Override
      List<ResultStore.Entry> work() {
        return Results.store(HistoryActivity.this).list();
      }

      @Override
      void done(List<ResultStore.Entry> entries) {
        adapter.show(entries);
        findViewById(R.id.history).setVisibility(entries.isEmpty() ? View.GONE : View.VISIBLE);
        findViewById(R.id.message).setVisibility(entries.isEmpty() ? View.VISIBLE : View.GONE);
        ((TextView) findViewById(R.id.message_title)).setText(R.string.history_empty);
        ((TextView) findViewById(R.id.message_text)).setText(R.string.history_empty_text);
      }

      @Override
      void failed(Throwable reason) {
        Dialogs.showError(
            HistoryActivity.this, R.string.error_history, Reasons.of(HistoryActivity.this, reason));
      }
    }.start(this, "dgms-history");
  }

  private void showMenu(final ResultStore.Entry entry, View button) {
    PopupMenu menu = new PopupMenu(this, button);
    menu.inflate(R.menu.history_row);
    menu.getMenu().findItem(R.id.share_csv).setVisible(entry.result() != null);
    menu.setOnMenuItemClickListener(
        new PopupMenu.OnMenuItemClickListener() {
          @Override
          public boolean onMenuItemClick(MenuItem item) {
            choose(item.getItemId(), entry.file());
            return true;
          }
        });
    menu.show();
  }

  private void choose(int id, final File file) {
    if (id == R.id.delete) {
      Dialogs.ask(
          this,
          getString(R.string.ask_delete),
          R.string.delete,
          android.R.string.cancel,
          new Runnable() {
            @Override
            public void run() {
              delete(file);
            }
          });
    } else {
      Results.share(this, file, id == R.id.share_csv);
    }
  }

  private void delete(File file) {
    try {
      Results.store(this).delete(file);
      load();
    } catch (IOException e) {
      Dialogs.showError(this, R.string.error_delete, Reasons.of(this, e));
    }
  }
}
